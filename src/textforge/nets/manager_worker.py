"""The generator of LeakGAN: a Manager that sets goals among the leaked features, a Worker that writes towards them.

Guo et al. 2018. Axis letters besides those of the package: K size of an embedded goal, J of it times H + 1.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from textforge.decoding import State
from textforge.nets.embedding import tokens_before
from textforge.nets.leaked_features import LeakedFeatures
from textforge.nets.text_cnn import TextCNN
from textforge.sharding import by_rows
from textforge.text import Vocabulary

GoalForm = Literal["sliding", "segment"]
"""Which goals a token follows: those of the last c steps, or, for a whole segment of c tokens, those of the segment
before it."""


class Manager(nn.Module):
    """An LSTM from the features of each prefix to its goal, a direction among the features: ||g_t|| = 1."""

    def __init__(self, num_features: int, hidden_dim: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(num_features, hidden_dim, batch_first=True)
        self.output = nn.Linear(hidden_dim, num_features)

    def forward(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B T F"]:
        """Return the goals g_0.. from the features f_0.., in that order of time."""
        hidden: Tensor
        hidden, _ = self.lstm(features)
        return F.normalize(self.output(hidden), dim=-1)

    def step(self, features: Float[Tensor, "B F"], state: State) -> tuple[Float[Tensor, "B F"], State]:
        """Read the features of one prefix a row; return its goal and the new state."""
        hidden, cell = torch.lstm_cell(features, state, *self.lstm.all_weights[0])
        return F.normalize(self.output(hidden), dim=-1), (hidden, cell)


class Worker(nn.Module):
    """An LSTM over tokens whose output, a matrix [V K], is multiplied by the embedded goals: logits O_t w_t.

    With O_t = A h_t + b that product is linear in w_t x (h_t, 1), and is computed so: no matrix a token is built.
    The goals before the first are one learned vector, `first_goal`; the Manager's loss never sees it, so it is the
    Worker's.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        num_features: int,
        *,
        embedding_dim: int,
        hidden_dim: int,
        goal_dim: int,
        normalise_goal: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.normalise_goal = normalise_goal
        self.embedding = nn.Embedding(len(vocabulary), embedding_dim)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, batch_first=True)
        self.goal_embedding = nn.Linear(num_features, goal_dim, bias=False)
        self.first_goal = nn.Parameter(torch.randn(num_features))
        self.output = nn.Linear(goal_dim * (hidden_dim + 1), vocabulary.vocab_size, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Int[Tensor, "B T"], goals: Float[Tensor, "B T K"]) -> Float[Tensor, "B T J"]:
        """Read tokens under the embedded goals of each; return what `logits` reads."""
        hidden: Tensor
        hidden, _ = self.lstm(self.dropout(self.embedding(inputs)))
        return self.joined(hidden, goals)

    def step(
        self, token: Int[Tensor, " B"], goal: Float[Tensor, "B K"], state: State
    ) -> tuple[Float[Tensor, "B V"], State]:
        """Read one token a row under its embedded goals; return the next token's logits and the new state."""
        hidden, cell = torch.lstm_cell(self.dropout(self.embedding(token)), state, *self.lstm.all_weights[0])
        return self.output(self.joined(hidden, goal)), (hidden, cell)

    def joined(self, hidden: Float[Tensor, "*A H"], goal: Float[Tensor, "*A K"]) -> Float[Tensor, "*A J"]:
        """Return w_t x (h_t, 1), flat: every product of an entry of one with an entry of the other."""
        if self.normalise_goal:
            goal = F.normalize(goal, dim=-1)
        return (goal[..., None] * F.pad(self.dropout(hidden), (0, 1), value=1.0)[..., None, :]).flatten(-2)


def summed_goals(
    goals: Float[Tensor, "B T G"], first: Float[Tensor, " G"], step_size: int, form: GoalForm
) -> Float[Tensor, "B T G"]:
    """Return the sum of the c goals that each token follows; all goals before g_0 are `first`.

    At t the sum of g_{t-c} to g_{t-1}; in segments, that of the last t that c divides.
    """
    time = torch.arange(goals.shape[1], device=goals.device)
    before = first.expand(len(goals), step_size, -1)
    sums = torch.cat([before, goals[:, :-1]], 1).unfold(1, step_size, 1).sum(-1)
    return sums if form == "sliding" else sums[:, time // step_size * step_size]


class LeakGANGenerator(nn.Module):
    """Manager, Worker, and a frozen copy of the discriminator's features, which both were trained with.

    Exact likelihood: goals follow from the tokens. `forward` and `step` share their weights and agree to rounding. Its
    gradient is that of the Worker, with goals as constants: the two are trained apart. The Worker's
    window holds embedded goals, for the embedding of a sum is the sum of embeddings; so a row's state has c x K numbers
    in place of c x F.
    """

    noise_dim = 0

    def __init__(
        self,
        vocabulary: Vocabulary,
        max_length: int,
        discriminator: TextCNN,
        *,
        embedding_dim: int,
        hidden_dim: int,
        manager_dim: int,
        goal_dim: int,
        step_size: int,
        goal_form: GoalForm,
        normalise_goal: bool,
        dropout: float = 0.0,
        init_std: float | None = None,
    ) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.max_length = max_length
        self.step_size = min(step_size, max_length)
        self.goal_form: GoalForm = goal_form
        self.leaked = LeakedFeatures(vocabulary, max_length, discriminator)
        num_features = self.leaked.num_features
        self.manager = Manager(num_features, manager_dim)
        self.worker = Worker(
            vocabulary,
            num_features,
            embedding_dim=embedding_dim,
            hidden_dim=hidden_dim,
            goal_dim=goal_dim,
            normalise_goal=normalise_goal,
            dropout=dropout,
        )
        if init_std is not None:
            for parameter in (*self.manager.parameters(), *self.worker.parameters()):
                nn.init.normal_(parameter, std=init_std)

    def summed(self, goals: Float[Tensor, "B T F"]) -> Float[Tensor, "B T F"]:
        """Return the sum of the goals that each token follows, not embedded; `first_goal` without gradient."""
        return summed_goals(goals, self._first_goal().detach(), self.step_size, self.goal_form)

    def _first_goal(self) -> Float[Tensor, " F"]:
        return F.normalize(self.worker.first_goal, dim=-1)

    @by_rows
    def forward(self, tokens: Int[Tensor, "B T"], temperature: float = 1.0) -> Float[Tensor, "B T"]:
        """Return the log-probability of each token given those before it, in nats; 0 on padding."""
        with torch.no_grad():
            goals = self.manager(self.leaked(tokens)[:, :-1])
        return self.log_probs(tokens, goals, temperature)

    @by_rows
    def log_probs(
        self, tokens: Int[Tensor, "B T"], goals: Float[Tensor, "B T F"], temperature: float = 1.0
    ) -> Float[Tensor, "B T"]:
        """Return the same under known goals, which are constants here."""
        real = tokens != self.vocabulary.pad
        first = self.worker.goal_embedding(self._first_goal())
        followed = summed_goals(self.worker.goal_embedding(goals.detach()), first, self.step_size, self.goal_form)
        joined = self.worker(tokens_before(tokens, self.vocabulary.bos), followed)
        # The output layer is most of the work, so padding does not go through it.
        logits: Tensor = self.worker.output(joined[real]) / temperature
        log_probs = logits.new_zeros(tokens.shape)
        log_probs[real] = -F.cross_entropy(logits, tokens[real], reduction="none")
        return log_probs

    def initial_state(self, batch: int, context: Any = None) -> State:
        """Return the state before `bos`: of the features, of both LSTMs, and the window of embedded goals."""
        weight = self.worker.output.weight
        worker = weight.new_zeros(batch, self.worker.lstm.hidden_size)
        manager = weight.new_zeros(batch, self.manager.lstm.hidden_size)
        first = self.worker.goal_embedding(self._first_goal()).expand(batch, self.step_size, -1)
        return {
            "features": self.leaked.initial_state(batch),
            "worker": (worker, worker),
            "manager": (manager, manager),
            "goals": first,
            "followed": first.sum(1),
        }

    def step(self, token: Int[Tensor, " B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        """Read one token a row, `bos` first; return the next token's logits and the new state."""
        maxima, features = self.leaked.read(token, state["features"])
        goals = state["goals"]
        followed = goals.sum(1)
        if self.goal_form == "segment":
            position = features[0]
            followed = torch.where((position % self.step_size == 0)[:, None], followed, state["followed"])
        logits, worker = self.worker.step(token, followed, state["worker"])
        goal, manager = self.manager.step(self.leaked.features(maxima), state["manager"])
        goals = torch.cat([goals[:, 1:], self.worker.goal_embedding(goal)[:, None]], 1)
        state = {"features": features, "worker": worker, "manager": manager, "goals": goals, "followed": followed}
        return logits, state
