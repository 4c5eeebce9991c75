"""The LSTM discriminator of the Gumbel-softmax GAN (Kusner and Hernandez-Lobato 2016, figure 2)."""

import torch
from torch import nn

from textforge.nets.embedding import Sequences, embed, real_positions
from textforge.nets.judgement import Judgement
from textforge.sharding import by_rows
from textforge.text import Vocabulary


class TokenRNN(nn.Module):
    """An LSTM over the sequence; one logit from its hidden vector at the last real position.

    Token ids and distributions over them go through the same network. What stands behind the end changes nothing.
    """

    def __init__(self, vocabulary: Vocabulary, *, embedding_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.pad = vocabulary.pad
        self.embedding = nn.Embedding(len(vocabulary), embedding_dim)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, batch_first=True)
        self.head = nn.Linear(hidden_dim, 1)

    @by_rows
    def forward(self, sequences: Sequences) -> Judgement:
        """Judge token ids, or distributions over the first E ids of the vocabulary."""
        hidden, _ = self.lstm(embed(self.embedding, sequences))
        lengths = real_positions(sequences, self.pad).sum(1)
        features = hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]
        return Judgement(self.head(features).squeeze(1), features)
