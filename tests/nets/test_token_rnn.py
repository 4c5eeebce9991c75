"""The LSTM that judges, against PyTorch's layers one sequence at a time."""

import pytest
import torch
from torch import nn

from textforge.nets.token_rnn import TokenRNN
from textforge.text import Vocabulary

pytestmark = pytest.mark.usefixtures("float64")

VOCABULARY = Vocabulary.create("abc", unk=False)
END, PAD = 3, 5
TOKENS = torch.tensor([[0, 1, 2, 0, END], [0, 1, END, PAD, PAD], [END, PAD, PAD, PAD, PAD], [2, 2, 1, 0, 1]])


@pytest.fixture
def judge() -> TokenRNN:
    network = TokenRNN(VOCABULARY, embedding_dim=4, hidden_dim=6)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network


def test_logit_is_read_at_the_last_real_position_of_each_sequence(judge: TokenRNN) -> None:
    """Of each sequence, not of the batch; `eos` is real, padding is not, a sequence without `eos` ends at the last."""
    judged = judge(TOKENS)
    assert judged.logits.shape == (4,)
    for b, length in enumerate((5, 3, 1, 5)):
        cell = nn.LSTMCell(4, 6)
        cell.load_state_dict({name.removesuffix("_l0"): value for name, value in judge.lstm.state_dict().items()})
        state = (torch.zeros(6), torch.zeros(6))
        for token in TOKENS[b, :length]:
            state = cell(judge.embedding.weight[token], state)
        torch.testing.assert_close(judged.features[b], state[0])
        torch.testing.assert_close(judged.logits[b], (judge.head.weight[0] * state[0]).sum() + judge.head.bias[0])


def test_padding_changes_nothing(judge: TokenRNN) -> None:
    wider = torch.cat([TOKENS, torch.full((4, 3), PAD)], 1)
    torch.testing.assert_close(judge(wider).logits, judge(TOKENS).logits)


def test_last_symbol_is_read(judge: TokenRNN) -> None:
    other = TOKENS.clone()
    other[3, -1] = 2
    assert (judge(other).logits != judge(TOKENS).logits).tolist() == [False, False, False, True]
