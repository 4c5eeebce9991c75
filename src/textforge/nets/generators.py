"""Which network writes: the one place that turns the fields of a config into a language model.

The methods that learn by likelihood or by policy gradient know their generator by what it can do and not by its kind.
"""

from typing import Literal, Protocol, runtime_checkable

from torch import nn

from textforge.errors import CallError, at_least
from textforge.nets.lstm import LSTMGenerator
from textforge.nets.pretrained import PretrainedGenerator
from textforge.nets.transformer import TransformerGenerator
from textforge.text import Vocabulary

LanguageModel = LSTMGenerator | TransformerGenerator | PretrainedGenerator


@runtime_checkable
class Choice(Protocol):
    """The fields of a config that say which network the generator is."""

    @property
    def network(self) -> Literal["lstm", "transformer"]:
        """What is built anew."""

    @property
    def embedding_dim(self) -> int:
        """The size of the embeddings, and the width of a transformer."""

    @property
    def hidden_dim(self) -> int:
        """The size of an LSTM."""

    @property
    def num_layers(self) -> int:
        """Layers of either."""

    @property
    def num_heads(self) -> int:
        """Heads of a transformer's attention."""

    @property
    def dropout(self) -> float:
        """The rate of dropout."""

    @property
    def init_std(self) -> float | None:
        """The standard deviation of the first weights."""

    @property
    def pretrained(self) -> str | None:
        """The folder or the name of a model that is there already, in place of a new one."""

    @property
    def lora_rank(self) -> int:
        """The rank of its adapters; 0 trains all its weights."""


def check(config: Choice) -> None:
    """Raise CallError for fields out of range, or that do not go together."""
    at_least(1, config, "embedding_dim", "hidden_dim", "num_layers", "num_heads")
    at_least(0, config, "lora_rank")
    if config.network == "transformer" and config.embedding_dim % config.num_heads:
        raise CallError(
            f"--num-heads {config.num_heads} must divide --embedding-dim, which is {config.embedding_dim}; change one"
        )
    if config.lora_rank and config.pretrained is None:
        raise CallError("--lora-rank adapts a model that is there already; name it by --pretrained, or leave it out")


def build(config: Choice, vocabulary: Vocabulary, max_length: int) -> LanguageModel:
    """Build the generator, untrained; a pretrained one has its own form and, before `begin`, no weights of its own."""
    if config.pretrained is not None:
        return PretrainedGenerator(vocabulary, max_length, lora_rank=config.lora_rank)
    if config.network == "transformer":
        return TransformerGenerator(
            vocabulary,
            max_length,
            embedding_dim=config.embedding_dim,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            dropout=config.dropout,
            init_std=config.init_std,
        )
    return LSTMGenerator(
        vocabulary,
        max_length,
        embedding_dim=config.embedding_dim,
        hidden_dim=config.hidden_dim,
        num_layers=config.num_layers,
        dropout=config.dropout,
        init_std=config.init_std,
    )


def begin(generator: LanguageModel, config: Choice) -> None:
    """Give a pretrained generator the weights that it begins with; a new one has them."""
    if isinstance(generator, PretrainedGenerator):
        assert config.pretrained is not None
        generator.load_weights(config.pretrained)


def trainable(generator: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that training may change: under LoRA those of the adapters, else all."""
    return [parameter for parameter in generator.parameters() if parameter.requires_grad]


def without_dropout(generator: nn.Module) -> None:
    """Turn dropout off for good, so that the gradient is that of the policy which is sampled."""
    for part in generator.modules():
        if not isinstance(part, nn.RNNBase):  # which cuDNN can differentiate in training mode only
            part.training = False
