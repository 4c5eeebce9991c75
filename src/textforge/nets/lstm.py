"""The LSTM generator of the papers: embedding, LSTM, linear output (SeqGAN, eqs. 9 and 10)."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from textforge.decoding import State
from textforge.nets.embedding import tokens_before
from textforge.nets.output import token_log_probs
from textforge.sharding import by_rows
from textforge.text import Vocabulary


class LSTMGenerator(nn.Module):
    """An autoregressive language model. `forward` and `step` share their weights and agree to rounding.

    Output rows are the V ids that may be emitted; embedding rows are all ids, so that `bos` and `pad` can be read.
    Dropout, where asked for, acts on the embeddings and on the last hidden layer.
    """

    noise_dim = 0

    def __init__(
        self,
        vocabulary: Vocabulary,
        max_length: int,
        *,
        embedding_dim: int,
        hidden_dim: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        init_std: float | None = None,
    ) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.max_length = max_length
        self.embedding = nn.Embedding(len(vocabulary), embedding_dim)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, num_layers, batch_first=True)
        self.output = nn.Linear(hidden_dim, vocabulary.vocab_size)
        self.dropout = nn.Dropout(dropout)
        if init_std is not None:
            for parameter in self.parameters():
                nn.init.normal_(parameter, std=init_std)

    @property
    def vocab_size(self) -> int:
        """V, the number of ids that may be emitted."""
        return self.vocabulary.vocab_size

    @by_rows
    def forward(self, tokens: Int[Tensor, "B T"], inputs: Int[Tensor, "B T"] | None = None) -> Float[Tensor, "B T"]:
        """Return the log-probability of each token given those before it, in nats; 0 on padding.

        `inputs`, where given, are read in place of `tokens` (the token before, at each position): scheduled sampling.
        """
        vocabulary = self.vocabulary
        real = tokens != vocabulary.pad
        read = tokens if inputs is None else inputs
        hidden: Tensor
        hidden, _ = self.lstm(self.dropout(self.embedding(tokens_before(read, vocabulary.bos))))
        return token_log_probs(tokens, real, self.dropout(hidden[real]), self.output, self.vocab_size)

    def initial_state(self, batch: int, context: Any = None) -> State:
        """Return zero hidden and cell vectors, [B H] each, a pair a layer."""
        zeros = self.output.weight.new_zeros(batch, self.lstm.hidden_size)
        return tuple((zeros, zeros) for _ in range(self.lstm.num_layers))

    def step(self, token: Int[Tensor, " B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        """Read one token a row; return the next token's logits and the new state."""
        hidden = self.dropout(self.embedding(token))
        layers = []
        for layer, before in enumerate(state):
            hidden, cell = torch.lstm_cell(hidden, before, *self.lstm.all_weights[layer])
            layers.append((hidden, cell))
        return self.output(self.dropout(hidden)), tuple(layers)
