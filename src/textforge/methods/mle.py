"""Maximum likelihood by teacher forcing: the baseline that every adversarial method here is held against.

With `scheduled_sampling` the generator learns to read its own output: Bengio et al. 2015, in the form that the SeqGAN
paper uses as a baseline.
"""

from dataclasses import dataclass
from typing import Literal, TypedDict

import torch
from jaxtyping import Int
from torch import Tensor
from torch.optim import Adam

from textforge.decoding import Generator, decode
from textforge.errors import above, at_least, at_most
from textforge.losses import nll
from textforge.nets.generators import LanguageModel, begin, build, check, trainable
from textforge.run import Run
from textforge.task import Task
from textforge.text import Stream, Vocabulary

CITATION = """@article{williams1989learning,
  title = {A Learning Algorithm for Continually Running Fully Recurrent Neural Networks},
  author = {Williams, Ronald J. and Zipser, David},
  journal = {Neural Computation},
  volume = {1},
  number = {2},
  pages = {270--280},
  year = {1989}
}
@inproceedings{bengio2015scheduled,
  title = {Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks},
  author = {Bengio, Samy and Vinyals, Oriol and Jaitly, Navdeep and Shazeer, Noam},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {28},
  year = {2015}
}"""


@dataclass(frozen=True)
class Config:
    """The preset `paper` is the MLE baseline of SeqGAN (Yu et al. 2017): [P] marks its paper, [C] its authors' code."""

    embedding_dim: int = 32
    """Size of the token embeddings [C]; a transformer is so wide throughout."""
    hidden_dim: int = 32
    """Size of the LSTM's hidden state [C]."""
    num_layers: int = 1
    """Layers of the network; one LSTM [P, C]."""
    dropout: float = 0.0
    """Dropout on embeddings and last hidden state, in a transformer as in GPT-2; the paper has none."""
    init_std: float | None = 0.1
    """Standard deviation of all initial weights [C]; None: PyTorch's own, of a transformer GPT-2's."""
    network: Literal["lstm", "transformer"] = "lstm"
    """What predicts the next token: an LSTM [P, C], or a small GPT."""
    num_heads: int = 4
    """Heads of the transformer's attention."""
    pretrained: str | None = None
    """A causal language model of Hugging Face to go on from: its folder, or its name with an owner (OWNER/NAME)."""
    lora_rank: int = 0
    """Of a pretrained model, train adapters of this rank in place of its weights; 0 trains all weights."""
    batch_size: int = 64
    """Sequences a step [P, C]."""
    lr: float = 1e-2
    """Learning rate of Adam [C]."""
    clip: float = 5.0
    """Bound on the global norm of the gradient [C]."""
    steps: int = 120 * 157
    """Updates: 120 epochs of 10,000 sequences [C]."""
    patience: int | None = None
    """End after this many evaluations without a lower held-out NLL, at the best; None trains to the end [C]."""
    scheduled_sampling: float = 0.0
    """How much the probability of reading the true token falls per epoch, from 1; the SS baseline has 0.002 [P]."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(self)
        at_least(1, self, "batch_size", "steps", "patience")
        at_least(0, self, "dropout", "scheduled_sampling")
        at_most(1, self, "dropout")
        above(0, self, "lr", "clip", "init_std")


PRESETS = {
    "paper": Config(),
    "scheduled-sampling": Config(scheduled_sampling=0.002),
    "small": Config(embedding_dim=256, hidden_dim=256, dropout=0.3, init_std=None, lr=2e-3, steps=1000, patience=4),
    "transformer": Config(
        network="transformer",
        embedding_dim=128,
        num_layers=2,
        dropout=0.1,
        init_std=None,
        lr=2e-3,
        steps=2000,
        patience=4,
    ),
    "tiny": Config(embedding_dim=8, hidden_dim=16, batch_size=8, steps=6),
}
LENGTHS = ("steps",)


class Networks(TypedDict):
    """The one player."""

    generator: LanguageModel


def networks(config: Config, vocabulary: Vocabulary, max_length: int) -> Networks:
    """Build the generator, untrained."""
    return Networks(generator=build(config, vocabulary, max_length))


def train(config: Config, task: Task, run: Run) -> Generator:
    """Minimise the negative log-likelihood of the training sequences."""
    G = networks(config, task.vocabulary, task.max_length)["generator"]
    begin(G, config)
    optimizer = Adam(trainable(G), lr=config.lr)
    real = Stream(task.train, config.batch_size, width=task.max_length, seed=run.seed, device=run.device)
    run.setup("generator", G, optimizer)
    run.track("real", real)

    for _ in run.phase("mle", config.steps, patience=config.patience):
        truth = max(0.0, 1 - config.scheduled_sampling * int(real.epoch))
        batch = real.next()
        inputs = scheduled_inputs(G, batch.tokens, truth) if config.scheduled_sampling else None
        loss = nll(G(batch.tokens, inputs), batch.mask)
        run.step(optimizer, loss, clip=config.clip)
        run.log(nll_train=loss)
    return G


def scheduled_inputs(G: Generator, tokens: Int[Tensor, "B T"], truth: float) -> Int[Tensor, "B T"]:
    """Return what is read: the true token with probability `truth`, else a draw given what was read before.

    The last real token is always the true one, so that a sequence cannot end early.
    """
    real = tokens != G.vocabulary.pad
    last = torch.arange(tokens.shape[1], device=tokens.device) >= real.sum(1, keepdim=True) - 1
    kept = torch.rand(tokens.shape, device=tokens.device) < truth
    return decode(G, tokens, kept | last).tokens
