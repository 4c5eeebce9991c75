"""LSTM generators that a noise vector drives: z as the first state (Gumbel-softmax GAN), or at every gate (TextGAN)."""

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from textforge.decoding import State
from textforge.nets.embedding import embed
from textforge.sharding import by_rows
from textforge.text import Vocabulary


class NoiseStartLSTM(nn.Module):
    """An LSTM whose first hidden and cell vectors are noise, uniform in (0, 1).

    The generator of Kusner and Hernandez-Lobato 2016 (figures 1 and 2). Given its noise, a sequence is drawn token by
    token from the softmax of the logits. With `noise_in` "h", the first cell vector is learned and the noise is the
    hidden vector alone (variant d of figure 4). Read to the letter, the hidden vector itself is the logits;
    `projection` False does that, and makes the hidden size V.
    """

    noise_range = (0.0, 1.0)

    def __init__(
        self,
        vocabulary: Vocabulary,
        max_length: int,
        *,
        hidden_dim: int,
        embedding_dim: int,
        noise_in: Literal["h-and-c", "h"] = "h-and-c",
        projection: bool = True,
    ) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.max_length = max_length
        hidden_dim = hidden_dim if projection else vocabulary.vocab_size
        self.noise_dim = hidden_dim * (2 if noise_in == "h-and-c" else 1)
        self.embedding = nn.Embedding(len(vocabulary), embedding_dim)
        self.lstm = nn.LSTMCell(embedding_dim, hidden_dim)
        self.cell = None if noise_in == "h-and-c" else nn.Parameter(torch.zeros(hidden_dim))
        self.output = nn.Linear(hidden_dim, vocabulary.vocab_size) if projection else nn.Identity()

    def noise(self, batch: int) -> Float[Tensor, "B Z"]:
        """Draw the first hidden vectors, and behind them the first cell vectors, where these are noise too."""
        low, high = self.noise_range
        like = self.lstm.bias_ih
        return low + (high - low) * torch.rand(batch, self.noise_dim, dtype=like.dtype, device=like.device)

    def initial_state(self, batch: int, context: Any = None) -> State:
        """Return the noise, given or drawn, as hidden and cell vectors, [B H] each."""
        noise = self.noise(batch) if context is None else context
        if self.cell is not None:
            return noise, self.cell.expand_as(noise)
        hidden, cell = noise.chunk(2, 1)
        return hidden, cell

    def step(self, token: Int[Tensor, " B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        """Read one token a row; return the next token's logits and the new state."""
        return self._advance(self.embedding(token), state)

    def relaxed_step(self, row: Float[Tensor, "B E"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        """Read one distribution a row; return the next token's logits and the new state."""
        return self._advance(row @ self.embedding.weight, state)

    def _advance(self, embedded: Float[Tensor, "B D"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        hidden, cell = self.lstm(embedded, state)
        return self.output(hidden), (hidden, cell)

    @by_rows
    def forward(self, tokens: Int[Tensor, "B T"], noise: Float[Tensor, "B Z"]) -> Float[Tensor, "B T"]:
        """Return the log-probability of each token given the noise and the tokens before it; 0 on padding."""
        real = tokens != self.vocabulary.pad
        state = self.initial_state(len(tokens), noise)
        before = torch.full_like(tokens[:, 0], self.vocabulary.bos)
        log_probs = []
        for token in tokens.unbind(1):
            logits, state = self.step(before, state)
            emitted = token.clamp(max=logits.shape[1] - 1)  # padding is no target; its loss is dropped below
            log_probs.append(-F.cross_entropy(logits, emitted, reduction="none"))
            before = token
        return torch.stack(log_probs, 1) * real


class NoiseGateLSTM(nn.Module):
    """An LSTM that reads its noise at every gate of every step; nothing else is random.

    The generator of Zhang, Gan and Carin 2016 (equations 1 to 5). The noise z is uniform in (-1, 1) (authors' code).
    h_1 = tanh(C z) comes from the noise alone, with a cell of zero; from then on the gates read the word before, the
    hidden vector and z. Words are argmax V h, where V h = W_emb (V_hid h) + b shares the embeddings (authors' code):
    `step` gives all probability to that word, `relaxed_step` the logits.
    """

    noise_range = (-1.0, 1.0)

    def __init__(
        self, vocabulary: Vocabulary, max_length: int, *, noise_dim: int, embedding_dim: int, hidden_dim: int
    ) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.max_length = max_length
        self.noise_dim = noise_dim
        self.embedding = nn.Embedding(len(vocabulary), embedding_dim)
        self.start = nn.Linear(noise_dim, hidden_dim)
        self.W = nn.Linear(embedding_dim, 4 * hidden_dim, bias=False)
        self.U = nn.Linear(hidden_dim, 4 * hidden_dim, bias=False)
        self.C = nn.Linear(noise_dim, 4 * hidden_dim)
        self.projection = nn.Linear(hidden_dim, embedding_dim, bias=False)
        self.bias = nn.Parameter(torch.zeros(vocabulary.vocab_size))
        # Initial values of the authors' code: uniform in (-.05, .05), orthogonal recurrence, forget bias 3.
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.05, 0.05)
        for gate in self.U.weight.detach().chunk(4):
            nn.init.orthogonal_(gate)
        for bias in (self.bias, self.start.bias, self.C.bias):
            nn.init.zeros_(bias)
        nn.init.constant_(self.C.bias.detach().chunk(4)[1], 3.0)

    def noise(self, batch: int) -> Float[Tensor, "B Z"]:
        """Draw z."""
        low, high = self.noise_range
        return low + (high - low) * torch.rand(batch, self.noise_dim, dtype=self.bias.dtype, device=self.bias.device)

    def initial_state(self, batch: int, context: Any = None) -> State:
        """Return h_1 and its cell [B H], what z adds to every gate [B 4H], and whether a row has begun [B 1].

        `context` is the noise [B Z]; it is drawn where it is not given.
        """
        z = self.noise(batch) if context is None else context
        hidden = self.start(z).tanh()
        return hidden, torch.zeros_like(hidden), self.C(z), torch.zeros_like(z[:, :1], dtype=torch.bool)

    def step(self, token: Int[Tensor, " B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        """Read one token a row; return logits that leave the argmax alone possible, and the new state."""
        logits, state = self._advance(self.embedding(token), state)
        certain = torch.full_like(logits, -torch.inf).scatter(1, logits.argmax(1, keepdim=True), 0.0)
        return certain, state

    def relaxed_step(self, row: Float[Tensor, "B E"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        """Read one distribution a row; return the next token's logits and the new state."""
        return self._advance(row @ self.embedding.weight, state)

    def _advance(self, word: Float[Tensor, "B D"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        hidden, cell, driven, begun = state
        after, cell_after = self._recur(self.W(word) + driven, hidden, cell)
        # What stands in front of the first word, `bos`, is not read: h_1 is made of the noise alone.
        hidden, cell = torch.where(begun, after, hidden), torch.where(begun, cell_after, cell)
        return self.logits(hidden), (hidden, cell, driven, torch.ones_like(begun))

    def _recur(
        self, gates: Float[Tensor, "B G"], hidden: Float[Tensor, "B H"], cell: Float[Tensor, "B H"]
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]:
        """Return h_t and c_t, from what the word before and z give to the gates (equations 1 to 5)."""
        i, f, o, c = (gates + self.U(hidden)).chunk(4, 1)
        cell = f.sigmoid() * cell + i.sigmoid() * c.tanh()
        return o.sigmoid() * cell.tanh(), cell

    def logits(self, hidden: Float[Tensor, "... H"]) -> Float[Tensor, "... V"]:
        """Return V h."""
        return F.linear(self.projection(hidden), self.embedding.weight[: len(self.bias)], self.bias)

    @by_rows
    def forward(self, tokens: Int[Tensor, "B T"], noise: Float[Tensor, "B Z"]) -> Float[Tensor, "B T"]:
        """Return log softmax(V h) of each token given the noise and the tokens before it; 0 on padding.

        This is what pretraining maximises; the generator itself emits the argmax.
        """
        real = tokens != self.vocabulary.pad
        hidden, cell, driven, _ = self.initial_state(len(tokens), noise)
        hiddens = [hidden]
        for word in embed(self.embedding, tokens[:, :-1]).unbind(1):
            hidden, cell = self._recur(self.W(word) + driven, hidden, cell)
            hiddens.append(hidden)
        log_probs: Tensor = hidden.new_zeros(tokens.shape)
        log_probs[real] = -F.cross_entropy(self.logits(torch.stack(hiddens, 1)[real]), tokens[real], reduction="none")
        return log_probs
