"""Matching the features of real and generated sequences: their means, or means and covariances, over some minibatches.

Axis letters: N real and M generated sequences, F features.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def mean_matching(real: Float[Tensor, "N F"], fake: Float[Tensor, "M F"]) -> Float[Tensor, ""]:
    """Return the squared distance between the means (Salimans et al. 2016, section 3.1)."""
    return (real.mean(0) - fake.mean(0)).square().sum()


def covariance_matching(real: Float[Tensor, "N F"], fake: Float[Tensor, "M F"], *, ridge: float) -> Float[Tensor, ""]:
    """Return tr(R^-1 S + S^-1 R) + d'(R^-1 + S^-1)d - 2F, for covariances R and S whose means differ by d.

    Equation 7 of Zhang, Gan and Carin 2016 less its smallest value, 2F: twice the Jeffreys divergence KL(R||S) +
    KL(S||R) of the two Gaussians, 0 where they agree. Covariances are those of the rows, without Bessel's correction,
    plus `ridge` on the diagonal. With unit matrices in their place it would be twice `mean_matching`. Computed
    in double precision, by Cholesky factors alone.
    """
    shift = (real.mean(0) - fake.mean(0)).double()[:, None]
    L_real, L_fake = _cholesky(real, ridge), _cholesky(fake, ridge)
    # tr(R^-1 S) is the squared norm of L_R^-1 L_S, and d'R^-1 d that of L_R^-1 d.
    forth = torch.linalg.solve_triangular(L_real, torch.cat([L_fake, shift], 1), upper=False)
    back = torch.linalg.solve_triangular(L_fake, torch.cat([L_real, shift], 1), upper=False)
    excess: Tensor = forth.square().sum() + back.square().sum() - 2 * len(shift)
    return excess.to(fake.dtype)


def _covariance(features: Float[Tensor, "N F"]) -> Float[Tensor, "F F"]:
    centred = (features - features.mean(0)).double()
    return centred.T @ centred / len(centred)


def _cholesky(features: Float[Tensor, "N F"], ridge: float) -> Float[Tensor, "F F"]:
    covariance = _covariance(features)
    factor: Tensor = torch.linalg.cholesky(
        covariance + ridge * torch.eye(len(covariance), dtype=torch.double, device=covariance.device)
    )
    return factor


def mean_correlation(real: Float[Tensor, "N F"], fake: Float[Tensor, "M F"]) -> Float[Tensor, ""]:
    """Return the correlation, over the features, of their real and their generated means; 0 where either is constant.

    Near 1, the points (real mean, generated mean) lie on a rising line (Zhang, Gan and Carin 2016, figure 2).
    """
    means = torch.stack([real.mean(0), fake.mean(0)])
    centred = means - means.mean(1, keepdim=True)
    scale = centred.norm(dim=1).prod()
    correlation: Tensor = centred.prod(0).sum() / scale
    return correlation.where(scale > 0, 0)


def covariance_error(real: Float[Tensor, "N F"], fake: Float[Tensor, "M F"]) -> Float[Tensor, ""]:
    """Return |S - R| / |R|, by Frobenius norms of the covariances R and S of the rows; 0 where R is 0."""
    R, S = _covariance(real), _covariance(fake)
    scale = R.norm()
    error: Tensor = ((S - R).norm() / scale).where(scale > 0, 0)
    return error.to(fake.dtype)


class Window:
    """The features of the last few minibatches, so that there are more of them than features.

    Gradients go into the newest minibatch alone. What a network made of its sequences before it was trained further is
    stale: keep the window short.
    """

    def __init__(self, size: int) -> None:
        """Begin empty; a window of `size` minibatches keeps one less, for the newest to be joined with."""
        self._past: deque[Tensor] = deque(maxlen=size - 1)

    def joined(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "N F"]:
        """Return the rows of the minibatches before, as constants, and of this one."""
        return torch.cat([*(past.to(features) for past in self._past), features])

    def push(self, features: Float[Tensor, "B F"]) -> None:
        """Keep this minibatch; let go of the oldest."""
        self._past.append(features.detach())

    def clear(self) -> None:
        """Let go of all minibatches."""
        self._past.clear()

    def state_dict(self) -> dict[str, list[Tensor]]:
        """Return the minibatches that are kept."""
        return {"past": list(self._past)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Keep what `state_dict` returned."""
        self._past = deque(state["past"], self._past.maxlen)
