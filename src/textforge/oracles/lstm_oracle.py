"""The LSTM oracle of SeqGAN: a frozen random LSTM whose sequences are the real data (Yu et al. 2017, section 4.1).

Vocabulary 5,000, length 20, no `eos`; embedding and hidden state 32; the start token is id 0, which is also a symbol.
Texts are ids in decimal, separated by spaces. With the released parameters its entropy is about 5.74 nats per token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from textforge.decoding import log_prob, sample
from textforge.errors import UserError
from textforge.nets.lstm import LSTMGenerator
from textforge.text import Tokenizer, Vocabulary
from textforge.text.tokenizers import Word

GATES = "ifco"
"""The order of the gates in PyTorch's LSTM, by the letters of the parameter file."""
SEED = 88
"""Seed of the parameters where no file is given."""


@dataclass(frozen=True, eq=False)
class LSTMOracle:
    """A distribution over sequences of fixed length with exact likelihoods."""

    name: str
    generator: LSTMGenerator

    @property
    def tokenizer(self) -> Tokenizer:
        """Numbers separated by spaces."""
        return Word(self.generator.vocabulary)

    @property
    def max_length(self) -> int:
        """The length of every sequence."""
        return self.generator.max_length

    @property
    def modes(self) -> tuple[str, ...]:
        """None are known."""
        return ()

    def sample(self, num: int, seed: int) -> list[str]:
        """Draw `num` sequences, the same for the same seed, without touching the global random state."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            tokens = sample(self.generator, num).tokens
        return [self.tokenizer.decode(row) for row in tokens.tolist()]

    def log_prob(self, texts: Sequence[str]) -> Float[np.ndarray, "N"]:
        """Return log-probabilities in nats; -inf for what is not `max_length` known ids."""
        ids = [self._ids(text) for text in texts]
        result = np.full(len(texts), -np.inf)
        valid = [i for i, row in enumerate(ids) if row is not None]
        for start in range(0, len(valid), 1024):
            part = valid[start : start + 1024]
            result[part] = log_prob(self.generator, torch.tensor([ids[i] for i in part])).double().numpy()
        return result

    def _ids(self, text: str) -> list[int] | None:
        try:
            ids = self.tokenizer.encode(text)
        except UserError:  # some symbol is not of this language
            return None
        return ids if len(ids) == self.max_length else None

    def mode_of(self, texts: Sequence[str]) -> list[str | None]:
        """Return "" for every possible sequence and None for others."""
        return [None if self._ids(text) is None else "" for text in texts]

    def support(self) -> None:
        """Return None: there are 5,000^20 sequences."""


def load(path: Path | None) -> LSTMOracle:
    """Read released parameters (an .npz of the authors' 15 arrays), or draw all from N(0, 1) by a fixed seed."""
    if path is None:
        with torch.random.fork_rng():
            torch.manual_seed(SEED)
            generator = _untrained(5000, 32, 32)
            for name, parameter in generator.named_parameters():
                # PyTorch adds two biases to each gate, the published oracle one.
                torch.nn.init.normal_(parameter, std=0.0 if "bias_hh" in name else 1.0)
        return LSTMOracle("lstm-oracle", generator)
    try:
        with np.load(path) as arrays:
            state = _state({name: torch.from_numpy(arrays[name]) for name in arrays.files})
        embedding, hidden = state["embedding.weight"], state["lstm.weight_hh_l0"]
        generator = _untrained(len(state["output.bias"]), embedding.shape[1], hidden.shape[1])
        generator.load_state_dict(state)
    except FileNotFoundError:
        raise UserError(f"there is no file {path}; give the parameters as .npz, or leave the path out") from None
    except (OSError, ValueError, KeyError, RuntimeError, EOFError) as error:
        raise UserError(
            f"{path} does not hold the 15 arrays of an LSTM oracle ({error}); give the published file"
        ) from None
    return LSTMOracle(f"lstm-oracle:{path}", generator)


def _untrained(vocab_size: int, embedding_dim: int, hidden_dim: int) -> LSTMGenerator:
    vocabulary = Vocabulary.create(map(str, range(vocab_size)), unk=False, eos=False, bos=0)
    return LSTMGenerator(vocabulary, 20, embedding_dim=embedding_dim, hidden_dim=hidden_dim).requires_grad_(False)


def _state(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename and transpose: the file has x @ W + h @ U + b for each gate; PyTorch stacks the gates' rows."""
    embedding = arrays["embedding"]
    bias = torch.cat([arrays[f"b_{gate}"] for gate in GATES])
    input_only = torch.zeros(2, embedding.shape[1])  # pad and mask, which this language never reads
    return {
        "embedding.weight": torch.cat([embedding, input_only]),
        "lstm.weight_ih_l0": torch.cat([arrays[f"W_{gate}"].T for gate in GATES]),
        "lstm.weight_hh_l0": torch.cat([arrays[f"U_{gate}"].T for gate in GATES]),
        "lstm.bias_ih_l0": bias,
        "lstm.bias_hh_l0": torch.zeros_like(bias),
        "output.weight": arrays["W_out"].T,
        "output.bias": arrays["b_out"],
    }
