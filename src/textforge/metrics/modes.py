"""What a generator covers of a language whose sentences and modes are known."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from textforge.errors import UserError, nearest
from textforge.metrics.counts import require


def validity(log_prob: Float[np.ndarray, "N"]) -> dict[str, float]:
    """Share of samples that belong to the language, given their log-probability in it: `validity`."""
    if not log_prob.size or np.isnan(log_prob).any():
        raise UserError(f"validity needs log-probabilities, not {log_prob.tolist()[:3]}; -inf marks an impossible text")
    return {"validity": float(np.mean(log_prob > -np.inf))}


def mode_coverage(found: Sequence[str | None], known: Sequence[str]) -> dict[str, float]:
    """Share of the known modes that at least one sample belongs to: `mode_coverage`; None marks an invalid sample.

    It grows with the number of samples, so only values at the same number compare.
    """
    require(found, "samples")
    require(known, "modes")
    hit = {mode for mode in found if mode is not None}
    if unknown := sorted(hit.difference(known)):
        raise UserError(f"unknown mode '{unknown[0]}'{nearest(unknown[0], known)}; pass the modes of the same language")
    return {"mode_coverage": len(hit) / len(set(known))}


def mode_distance(found: Sequence[str | None], reference: Sequence[str | None]) -> dict[str, float]:
    """Total variation between the mode histograms of samples and real text: `mode_tv`, 0 alike to 1 disjoint.

    Invalid samples (None) form a mode of their own. Two samples from one distribution already differ by about
    sqrt(modes / N), so put the value of real text against real text beside it.
    """
    require(found, "samples")
    require(reference, "references")
    ours, theirs = Counter(found), Counter(reference)
    gaps = (abs(ours[mode] / len(found) - theirs[mode] / len(reference)) for mode in ours | theirs)
    return {"mode_tv": sum(gaps) / 2}
