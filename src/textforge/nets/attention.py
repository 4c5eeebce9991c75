"""What sequence-to-sequence networks are made of: variational dropout, layers of LSTMs, Luong's attention."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

LSTMState = tuple[tuple[Tensor, Tensor], ...]
"""Hidden and cell vectors, [B H] each, a pair a layer."""


class VariationalDropout(nn.Module):
    """Dropout that drops the same features at all steps of a sequence, and others in the next sequence.

    Gal and Ghahramani 2016, for what a recurrent layer reads and returns.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, sequences: Float[Tensor, "B T H"]) -> Float[Tensor, "B T H"]:
        """Drop features, and scale up the others so that the expectation stays."""
        if not self.training:
            return sequences
        return sequences * F.dropout(torch.ones_like(sequences[:, :1]), self.rate)


class LSTMLayers(nn.Module):
    """LSTMs on top of each other, all of one size, with dropout in front of, between and behind them."""

    def __init__(self, size: int, num_layers: int, dropout: VariationalDropout) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.LSTM(size, size, batch_first=True) for _ in range(num_layers))
        self.dropout = dropout

    def forward(
        self, read: Float[Tensor, "B T H"], lengths: Int[Tensor, " B"], state: LSTMState | None = None
    ) -> tuple[Float[Tensor, "B T H"], LSTMState]:
        """Return the last layer's hidden vectors, 0 behind the end of each row, and the state at its end.

        Without a state, all layers begin with zeros. Every row has a length of at least 1.
        """
        hidden, width = self.dropout(read), read.shape[1]
        ends = lengths.cpu()  # where PyTorch wants them; packed, all rows end in one pass, and padding costs nothing
        after = []
        for i, layer in enumerate(self.layers):
            before = None if state is None else (state[i][0][None], state[i][1][None])
            packed = pack_padded_sequence(hidden, ends, batch_first=True, enforce_sorted=False)
            output, (last, cell) = layer(packed, before)
            hidden = self.dropout(pad_packed_sequence(output, batch_first=True, total_length=width)[0])
            after.append((last[0], cell[0]))
        return hidden, tuple(after)

    def step(self, read: Float[Tensor, "B H"], state: LSTMState) -> tuple[Float[Tensor, "B H"], LSTMState]:
        """Read one vector a row, without dropout; return the last layer's hidden vector and the new state."""
        hidden, after = read, []
        for layer, before in zip(self.layers, state, strict=True):
            assert isinstance(layer, nn.LSTM)
            hidden, cell = torch.lstm_cell(hidden, before, *layer.all_weights[0])
            after.append((hidden, cell))
        return hidden, tuple(after)


class LuongAttention(nn.Module):
    """Attention with bilinear scores (Luong, Pham and Manning 2015, "general"), linear throughout.

    As in MaskGAN's released code: keys W m without bias, and an output that is linear in query and context, without
    bias and without the tanh of the paper on attention.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.keys = nn.Linear(size, size, bias=False)
        self.output = nn.Linear(2 * size, size, bias=False)

    def weights(
        self, query: Float[Tensor, "B Q H"], memory: Float[Tensor, "B S H"], real: Bool[Tensor, "B S"]
    ) -> Float[Tensor, "B Q S"]:
        """Return how much of each place of the memory every query sees; the places that are not real have 0."""
        # (W m) . q = m . (W' q): with the queries projected, the memory is all that a state must hold.
        scores = query @ self.keys.weight @ memory.transpose(1, 2)
        return scores.masked_fill(~real[:, None], -torch.inf).softmax(-1)

    def forward(
        self, query: Float[Tensor, "B Q H"], memory: Float[Tensor, "B S H"], real: Bool[Tensor, "B S"]
    ) -> Float[Tensor, "B Q H"]:
        """Combine every query with what it sees of the memory."""
        context = self.weights(query, memory, real) @ memory
        output: Tensor = self.output(torch.cat([query, context], 2))
        return output
