"""MaskGAN's networks: a sequence-to-sequence generator that fills blanks, a discriminator of its shape, a critic on it.

m(x) is a text with `mask` at its blanks and `pad` behind its end. Its width says how long the filled text is, unless
the blanks run on to the full width: then the text may end, by `eos`, in any of them.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from textforge.decoding import State, map_state
from textforge.nets.attention import LSTMLayers, LuongAttention, VariationalDropout
from textforge.nets.embedding import tokens_before
from textforge.nets.judgement import Judgement
from textforge.sharding import by_rows
from textforge.text import Vocabulary
from textforge.text.masking import words


class InfillingGenerator(nn.Module):
    """An encoder reads m(x); a decoder with attention to it writes the text from left to right.

    Encoder, decoder and softmax share one embedding, so all sizes are one: the hidden size (Fedus, Goodfellow and Dai
    2018, section 3.1 and appendix A). The decoder begins with the state that the encoder ends in, and reads at each
    step the token before, real where it is present and its own where it was blank. In front of a present token `eos`
    has probability 0, since a text does not end there.
    """

    noise_dim = 0

    def __init__(
        self, vocabulary: Vocabulary, max_length: int, *, hidden_dim: int, num_layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.max_length = max_length
        self.embedding = nn.Embedding(len(vocabulary), hidden_dim)
        self.dropout = VariationalDropout(dropout)
        self.encoder = LSTMLayers(hidden_dim, num_layers, self.dropout)
        self.decoder = LSTMLayers(hidden_dim, num_layers, self.dropout)
        self.attention = LuongAttention(hidden_dim)
        self.bias = nn.Parameter(torch.zeros(vocabulary.vocab_size))
        nn.init.normal_(self.embedding.weight, std=hidden_dim**-0.5)  # its rows are those of the softmax, too

    @by_rows
    def forward(self, tokens: Int[Tensor, "B T"], masked: Int[Tensor, "B T"] | None = None) -> Float[Tensor, "B T"]:
        """Return the log-probability of what fills each blank, given m(x) and the tokens before it, in nats.

        It is exactly 0 where a token is present in m(x), and on padding. `masked` is m(x); None stands for blanks
        only, `max_length` of them, which makes the generator a language model.
        """
        real = tokens != self.vocabulary.pad
        context = self.all_blank(len(tokens)) if masked is None else masked
        memory, places, state = self._encode(context)
        hidden, _ = self.decoder(self._before(tokens), real.sum(1), state)
        output = self.attention(hidden, memory, places)
        blank = real if masked is None else real & (masked == self.vocabulary.mask)
        goes_on = torch.zeros_like(real) if masked is None else self._goes_on(masked)
        return self._log_probs(output, tokens, blank, goes_on)

    @by_rows
    def language_model(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """Return the log-probabilities under the decoder by itself: without an encoder, and without attention."""
        real = tokens != self.vocabulary.pad
        hidden, _ = self.decoder(self._before(tokens), real.sum(1))
        return self._log_probs(hidden, tokens, real, torch.zeros_like(real))

    def all_blank(self, batch: int) -> Int[Tensor, "B T"]:
        """Return m(x) of texts of which nothing is known, not even where they end."""
        device = self.bias.device
        return torch.full((batch, self.max_length), self.vocabulary.mask, device=device)

    def initial_state(self, batch: int, context: Any = None) -> State:
        """Encode m(x), given as the context [B T]; None stands for blanks only.

        The state holds the memory [B S H], which of its places are real and behind which a present token follows
        [B S], the position [B 1], and the decoder's layers.
        """
        masked = self.all_blank(1) if context is None else context
        memory, places, layers = self._encode(masked)
        state = {
            "memory": memory,
            "places": places,
            "goes_on": self._goes_on(masked),
            "position": torch.zeros_like(masked[:, :1]),
            "layers": layers,
        }
        return map_state(lambda leaf: leaf.expand(batch, *leaf.shape[1:]), state)

    def step(self, token: Int[Tensor, " B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        """Read one token a row; return the next token's logits and the new state."""
        hidden, layers = self.decoder.step(self.embedding(token), state["layers"])
        output = self.attention(hidden[:, None], state["memory"], state["places"]).squeeze(1)
        logits = self._logits(output, state["goes_on"].gather(1, state["position"]).squeeze(1))
        return logits, {**state, "layers": layers, "position": state["position"] + 1}

    def _before(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T H"]:
        embedded: Tensor = self.embedding(tokens_before(tokens, self.vocabulary.bos))
        return embedded

    def _encode(self, masked: Int[Tensor, "B T"]) -> tuple[Float[Tensor, "B T H"], Bool[Tensor, "B T"], State]:
        places = masked != self.vocabulary.pad
        memory, state = self.encoder(self.embedding(masked), places.sum(1))
        return memory, places, state

    def _goes_on(self, masked: Int[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
        """Return whether a present token follows later."""
        present = ((masked != self.vocabulary.mask) & (masked != self.vocabulary.pad)).long()
        return present.flip(1).cumsum(1).flip(1) > present

    def _logits(self, output: Float[Tensor, "R H"], goes_on: Bool[Tensor, " R"]) -> Float[Tensor, "R V"]:
        logits = F.linear(output, self.embedding.weight[: len(self.bias)], self.bias)
        eos = self.vocabulary.eos
        if eos is None:
            return logits
        ends = torch.arange(len(self.bias), device=logits.device) == eos
        return logits.masked_fill(goes_on[:, None] & ends, -torch.inf)

    def _log_probs(
        self,
        output: Float[Tensor, "B T H"],
        tokens: Int[Tensor, "B T"],
        blank: Bool[Tensor, "B T"],
        goes_on: Bool[Tensor, "B T"],
    ) -> Float[Tensor, "B T"]:
        # The softmax is much of the work, so only blanks go through it.
        logits = self._logits(output[blank], goes_on[blank])
        log_probs = output.new_zeros(tokens.shape)
        log_probs[blank] = -F.cross_entropy(logits, tokens[blank], reduction="none")
        return log_probs


class InfillingDiscriminator(nn.Module):
    """The generator's shape with a verdict at each position: an encoder reads m(x), a decoder the filled text.

    Section 3.1 of the paper. The decoder reads x_t itself at position t, so that its verdict is on x_1 ... x_t, given
    the whole of m(x). With `shared`, the generator's embedding is read as it stands, and never trained from here. The
    critic is a second head.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        hidden_dim: int,
        num_layers: int,
        dropout: float,
        shared: nn.Embedding | None = None,
    ) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.shares = shared is not None
        self.embedding = nn.Embedding(len(vocabulary), hidden_dim) if shared is None else shared
        self.dropout = VariationalDropout(dropout)
        self.encoder = LSTMLayers(hidden_dim, num_layers, self.dropout)
        self.decoder = LSTMLayers(hidden_dim, num_layers, self.dropout)
        self.attention = LuongAttention(hidden_dim)
        self.head = nn.Linear(hidden_dim, 1)
        self.critic_head = nn.Linear(hidden_dim, 1)

    @by_rows
    def forward(self, tokens: Int[Tensor, "B T"], masked: Int[Tensor, "B T"] | None = None) -> Judgement:
        """Judge each token of a filled text, given m(x); None stands for blanks only, but for `eos`."""
        real = tokens != self.vocabulary.pad
        context = tokens.masked_fill(words(tokens, self.vocabulary), self.vocabulary.mask) if masked is None else masked
        places = context != self.vocabulary.pad
        memory, state = self.encoder(self._embedded(context), places.sum(1))
        hidden, _ = self.decoder(self._embedded(tokens), real.sum(1), state)
        features = self.attention(hidden, memory, places)
        return Judgement(self.head(features).squeeze(2), features)

    @by_rows
    def critic(self, tokens: Int[Tensor, "B T"], *, trunk: bool = False) -> Float[Tensor, "B T"]:
        """Return V_t, which depends on the tokens before t alone: what the decoder makes of them without m(x).

        As in the released code, the decoder begins with zeros, and in front of the first token it reads zeros. With
        `trunk` the gradient goes through it; else it stops at the head.
        """
        embedded = self._embedded(tokens)
        read = torch.cat([torch.zeros_like(embedded[:, :1]), embedded[:, :-1]], 1)
        hidden, _ = self.decoder(read, (tokens != self.vocabulary.pad).sum(1))
        values: Tensor = self.critic_head(hidden if trunk else hidden.detach())
        return values.squeeze(2)

    def judging_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what the discriminator's own loss trains: all but the critic's head and a shared embedding."""
        for name, parameter in self.named_parameters():
            if not (name.startswith("critic_head.") or (self.shares and name.startswith("embedding."))):
                yield parameter

    def critic_parameters(self, *, trunk: bool = False) -> Iterator[nn.Parameter]:
        """Yield what the critic's loss trains: its head, and with `trunk` the decoder and an embedding of its own."""
        yield from self.critic_head.parameters()
        if trunk:
            yield from self.decoder.parameters()
            if not self.shares:
                yield from self.embedding.parameters()

    def _embedded(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T H"]:
        weight = self.embedding.weight.detach() if self.shares else self.embedding.weight
        return F.embedding(tokens, weight)
