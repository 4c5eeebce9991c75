"""A small GPT: a decoder of self-attention with pre-normalisation and learned positions (Radford et al. 2019).

The layers are those of Vaswani et al. 2017, without an encoder; the order of normalisation, the GELU and the initial
weights are GPT-2's.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from textforge.decoding import State
from textforge.errors import CallError
from textforge.nets.embedding import tokens_before
from textforge.nets.output import token_log_probs
from textforge.sharding import by_rows
from textforge.text import Vocabulary

INIT_STD = 0.02
"""GPT-2's standard deviation of initial weights."""

Cache = tuple[Float[Tensor, "B K P D"], Float[Tensor, "B K P D"]]
"""Keys and values of the tokens read before: K heads, P places, D numbers a head."""


class TransformerGenerator(nn.Module):
    """An autoregressive language model. `forward` and `step` share their weights and agree to rounding.

    The output layer is the embedding of the V ids that may be emitted, and has no weights of its own: on the small text
    of this package most weights would stand in these two tables, and a rare word, which is read seldom, is moved
    whenever it could have been written, too. Dropout acts as in GPT-2: on the embeddings, on the weights of attention
    and on what each half of a block adds.
    """

    noise_dim = 0

    def __init__(
        self,
        vocabulary: Vocabulary,
        max_length: int,
        *,
        embedding_dim: int,
        num_layers: int,
        num_heads: int,
        dropout: float = 0.0,
        init_std: float | None = None,
    ) -> None:
        """Build the network, `embedding_dim` numbers wide throughout; `init_std` replaces GPT-2's 0.02."""
        super().__init__()
        if embedding_dim % num_heads:
            raise CallError(f"--embedding-dim {embedding_dim} cannot be shared out among --num-heads {num_heads}")
        self.vocabulary = vocabulary
        self.max_length = max_length
        self.num_heads = num_heads
        self.embedding = nn.Embedding(len(vocabulary), embedding_dim)
        self.position = nn.Embedding(max_length, embedding_dim)
        self.blocks = nn.ModuleList(Block(embedding_dim, num_heads, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(embedding_dim)
        self.dropout = nn.Dropout(dropout)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                # What the blocks add up to should not grow with their number (Radford et al. 2019, section 2.3).
                depth = (2 * num_layers) ** -0.5 if name.endswith("back.weight") else 1.0
                nn.init.normal_(parameter, std=depth * (INIT_STD if init_std is None else init_std))
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

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
        places = torch.arange(tokens.shape[1], device=tokens.device)
        hidden = self._embedded(tokens_before(read, vocabulary.bos), places.clamp(max=self.max_length - 1))
        # Padding stands behind all that is real, so that no real token sees it.
        for block in self.blocks:
            hidden = block(hidden)
        return token_log_probs(tokens, real, hidden[real], self._logits, self.vocab_size)

    def initial_state(self, batch: int, context: Any = None) -> State:
        """Return how many tokens each row has read, [B], and an empty `Cache` a layer.

        A cache has `max_length` - 1 places, the last token in the last place, so that rows of different lengths can be
        put together in one batch; what stands in front of the first token is not looked at.
        """
        width = self.embedding.embedding_dim // self.num_heads
        empty = self.embedding.weight.new_zeros(batch, self.num_heads, self.max_length - 1, width)
        read = torch.zeros(batch, dtype=torch.long, device=empty.device)
        return {"read": read, "caches": tuple((empty, empty) for _ in self.blocks)}

    def step(self, token: Int[Tensor, " B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        """Read one token a row; return the next token's logits and the new state."""
        read, caches = state["read"], []
        places = torch.arange(self.max_length, device=token.device)
        seen = places >= self.max_length - 1 - read[:, None]
        hidden = self._embedded(token[:, None], read[:, None])
        for block, cache in zip(self.blocks, state["caches"], strict=True):
            assert isinstance(block, Block)
            hidden, after = block.step(hidden, cache, seen)
            caches.append(after)
        return self._logits(hidden[:, 0]), {"read": read + 1, "caches": tuple(caches)}

    def _embedded(self, tokens: Int[Tensor, "B T"], places: Int[Tensor, "*B T"]) -> Float[Tensor, "B T W"]:
        embedded: Tensor = self.dropout(self.embedding(tokens) + self.position(places))
        return embedded

    def _logits(self, hidden: Float[Tensor, "N W"]) -> Float[Tensor, "N V"]:
        return F.linear(self.norm(hidden), self.embedding.weight[: self.vocab_size])


class Block(nn.Module):
    """Self-attention, then a layer of 4 W units; each reads the normalised sum of all before it, and is added to it."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(width)
        self.attention = nn.Linear(width, 3 * width)
        self.attention_back = nn.Linear(width, width)
        self.wide_norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 4 * width)
        self.wide_back = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Float[Tensor, "B T W"]) -> Float[Tensor, "B T W"]:
        """Read whole sequences; each place sees itself and those before it."""
        query, key, value = self._heads(hidden)
        rate = self.dropout.p if self.dropout.training else 0.0
        return self._rest(hidden, F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=rate))

    def step(
        self, hidden: Float[Tensor, "B 1 W"], cache: Cache, seen: Bool[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B 1 W"], Cache]:
        """Read one more place a row, which sees itself and what of the cache is real; return the new cache, too."""
        query, *new = self._heads(hidden)
        key, value = (torch.cat([old, one], 2) for old, one in zip(cache, new, strict=True))
        rate = self.dropout.p if self.dropout.training else 0.0
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None, None], dropout_p=rate)
        return self._rest(hidden, found), (key[:, :, 1:], value[:, :, 1:])

    def _heads(self, hidden: Float[Tensor, "B T W"]) -> tuple[Tensor, ...]:
        """Return query, key and value, [B K T D] each."""
        parts = self.attention(self.attention_norm(hidden)).chunk(3, -1)
        return tuple(part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)

    def _rest(self, hidden: Float[Tensor, "B T W"], found: Float[Tensor, "B K T D"]) -> Float[Tensor, "B T W"]:
        hidden = hidden + self.dropout(self.attention_back(found.transpose(1, 2).flatten(2)))
        added: Tensor = self.dropout(self.wide_back(F.gelu(self.wide(self.wide_norm(hidden)))))
        return hidden + added
