"""The Fréchet distance between Gaussians fitted to sentence vectors, beside what real text has against real text."""

import numpy as np
from jaxtyping import Float

from textforge.errors import UserError


def frechet(
    samples: Float[np.ndarray, "N F"], references: Float[np.ndarray, "M F"], *, seed: int = 0
) -> dict[str, float]:
    """Return `frechet`, the distance between samples and real text, and `frechet_floor`, that of real text to itself.

    A finite sample is far from its own distribution: for two samples of n isotropic F-dimensional vectors of variance v
    the expected distance is about v (F^2 + 5 F) / 2n, not 0, and at n near F the distance says nothing else. So only
    values at one n and one encoder compare, and a value is worth its excess over the floor. Both are taken here at
    n = min(N, M // 2): the references are split at random into halves of n, the floor is the distance between the two,
    and `frechet` the mean of the distances from n random samples to either half. Source: Heusel et al. (2017) for
    images, de Masson d'Autume et al. (2019) for text.
    """
    size = min(len(samples), len(references) // 2)
    if size < 2:
        raise UserError(
            f"a Fréchet distance needs 2 samples and 4 references, not {len(samples)} and {len(references)}; give more"
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(references))
    one, other = (_gaussian(references[order[start : start + size]]) for start in (0, size))
    ours = _gaussian(samples[rng.permutation(len(samples))[:size]])
    return {
        "frechet": (frechet_distance(*ours, *one) + frechet_distance(*ours, *other)) / 2,
        "frechet_floor": frechet_distance(*one, *other),
    }


def frechet_distance(
    mean_a: Float[np.ndarray, "F"],
    covariance_a: Float[np.ndarray, "F F"],
    mean_b: Float[np.ndarray, "F"],
    covariance_b: Float[np.ndarray, "F F"],
) -> float:
    """Return |m_a - m_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of two Gaussians (Dowson and Landau 1982).

    With S = R R^T the last trace is the sum of the singular values of R_a^T R_b. Nothing is inverted, nothing becomes
    complex, and the rounding errors in eigenvalues that should be 0 stay errors where a square root of the product
    would blow them up, so singular covariances (fewer texts than dimensions, texts all alike) are no special case.
    """
    cross = np.linalg.svd(_root(covariance_a).T @ _root(covariance_b), compute_uv=False).sum()
    squared = np.square(mean_a - mean_b).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross
    return max(0.0, float(squared))


def _gaussian(cloud: Float[np.ndarray, "n F"]) -> tuple[Float[np.ndarray, "F"], Float[np.ndarray, "F F"]]:
    cloud = cloud.astype(np.float64)
    mean = cloud.mean(0)
    centred = cloud - mean
    return mean, centred.T @ centred / (len(cloud) - 1)


def _root(covariance: Float[np.ndarray, "F F"]) -> Float[np.ndarray, "F F"]:
    """Return R with R R^T equal to the covariance."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))
