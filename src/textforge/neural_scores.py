"""Forward and reverse LM score by an LSTM in place of the count model: it sees further than five symbols.

Two models of one size are trained, each with early stopping on a tenth of its own texts: one on real text, which judges
the samples, and one on the samples, which judges real text: reverse perplexity (Zhao et al., 2018).
They start from random weights, so a value has the noise of its seed, and compares only at one N and these settings.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.optim import Adam

from textforge.decoding import evaluating
from textforge.errors import UserError
from textforge.losses import nll
from textforge.nets.lstm import LSTMGenerator
from textforge.run import derive
from textforge.text import Corpus, Stream, Tokenizer, encode

SIZE, DROPOUT, LR, CLIP, BATCH = 256, 0.3, 2e-3, 5.0, 64
EPOCHS = 30
"""At the most; the lowest held-out NLL is kept, and training ends when it has not fallen for `PATIENCE` epochs."""
PATIENCE = 2
LEAST = 20
"""Texts on either side below which there is nothing to hold out."""


def lstm_scores(
    samples: Sequence[str], references: Sequence[str], tokenizer: Tokenizer, *, seed: int = 0
) -> dict[str, float]:
    """Return `lstm_lm_score` and `lstm_reverse_lm_score`, nats per token, ends counted; lower is better.

    The first min(N, M) texts of both sides are used. Symbols that the tokenizer does not know are one unknown symbol.
    """
    num = min(len(samples), len(references))
    if num < LEAST:
        raise UserError(f"an LSTM needs {LEAST} texts a side to learn from, not {num}; give more, or leave it out")
    width = max(len(tokenizer.split(text)) for text in (*samples[:num], *references[:num])) + 1
    return {
        "lstm_lm_score": _score(samples[:num], references[:num], tokenizer, width, seed),
        "lstm_reverse_lm_score": _score(references[:num], samples[:num], tokenizer, width, seed),
    }


def _score(judged: Sequence[str], learnt: Sequence[str], tokenizer: Tokenizer, width: int, seed: int) -> float:
    """Return the nats per token of texts under a model of others."""
    model = fit_lstm(learnt, tokenizer, width, seed=seed)
    return _nats(model, encode(judged, tokenizer, max_length=None)[0])


def fit_lstm(texts: Sequence[str], tokenizer: Tokenizer, width: int, *, seed: int) -> LSTMGenerator:
    """Train a language model by maximum likelihood, stopped early by every tenth text."""
    valid, _ = encode(texts[::10], tokenizer, max_length=None)
    learnt, _ = encode((text for i, text in enumerate(texts) if i % 10), tokenizer, max_length=None)
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "neural scores"))
        model = LSTMGenerator(tokenizer.vocabulary, width, embedding_dim=SIZE, hidden_dim=SIZE, dropout=DROPOUT)
        optimizer = Adam(model.parameters(), lr=LR)
        stream = Stream(learnt, BATCH, width=width, seed=seed)
        best, stale, kept = float("inf"), 0, model.state_dict()
        for _ in range(EPOCHS):
            for _ in range(-(-len(learnt) // BATCH)):
                batch = stream.next()
                loss = nll(model(batch.tokens), batch.mask)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
                optimizer.step()
            now = _nats(model, valid)
            if now < best:
                best, stale = now, 0
                kept = {name: value.clone() for name, value in model.state_dict().items()}
            elif (stale := stale + 1) == PATIENCE:
                break
        model.load_state_dict(kept)
    return model


@torch.no_grad()
def _nats(model: LSTMGenerator, corpus: Corpus) -> float:
    total = 0.0
    with evaluating(model):
        for rows in np.array_split(np.arange(len(corpus)), -(-len(corpus) // 256)):
            total -= float(model(corpus.batch(rows, None).tokens).double().sum())
    return total / int(corpus.lengths.sum())
