"""The Parzen window estimate of the log-likelihood (Goodfellow et al. 2014, section 5).

It is here because the paper's table 1 is made of it. The paper itself warns of its variance and of high dimensions;
where the truth is known there are better numbers.
"""

import math

import numpy as np
from jaxtyping import Float

from textforge.errors import UserError

CHUNK = 256  # points at a time, so that no table of distances is large


def parzen_log_density(
    points: Float[np.ndarray, "N D"], samples: Float[np.ndarray, "M D"], sigma: float
) -> Float[np.ndarray, "N"]:
    """Return for each point the log-density, in nats, of a Gaussian of width `sigma` laid upon each sample."""
    if not len(samples) or not sigma > 0:
        raise UserError(f"a Parzen window needs samples and a width above 0, not {len(samples)} and {sigma}")
    constant = math.log(len(samples)) + samples.shape[1] * math.log(sigma * math.sqrt(2 * math.pi))
    norms = np.square(samples).sum(1)
    parts = []
    for start in range(0, len(points), CHUNK):
        part = points[start : start + CHUNK]
        squares = np.square(part).sum(1)[:, None] - 2 * part @ samples.T + norms
        exponents = -np.maximum(squares, 0) / (2 * sigma**2)
        peak = exponents.max(1)
        parts.append(peak + np.log(np.exp(exponents - peak[:, None]).sum(1)) - constant)
    return np.concatenate([np.empty(0), *parts])


def parzen(
    valid: Float[np.ndarray, "V D"],
    test: Float[np.ndarray, "N D"],
    samples: Float[np.ndarray, "M D"],
    sigmas: Float[np.ndarray, "S"],
) -> dict[str, float]:
    """Return the mean log-density of the test points: `parzen`, its standard error `parzen_se`, and `parzen_sigma`.

    The width is the one of `sigmas` under which the validation points are the most likely.
    """
    scores = [float(parzen_log_density(valid, samples, sigma).mean()) for sigma in sigmas.tolist()]
    sigma = float(sigmas[int(np.argmax(scores))])
    of_test = parzen_log_density(test, samples, sigma)
    return {
        "parzen": float(of_test.mean()),
        "parzen_se": float(of_test.std(ddof=1) / math.sqrt(len(of_test))),
        "parzen_sigma": sigma,
    }
