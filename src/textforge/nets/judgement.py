"""What a discriminator returns."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Judgement:
    """Logits of being real, one a sequence or one a position, and the features that they were read from."""

    logits: Float[Tensor, "B *T"]
    features: Float[Tensor, "B *T F"]

    def whole(self, real: Bool[Tensor, "B T"]) -> Float[Tensor, " B"]:
        """Return one logit a sequence; where there is one a position, that of their mean probability on real tokens."""
        if self.logits.dim() == 1:
            return self.logits
        return ((self.logits.sigmoid() * real).sum(1) / real.sum(1)).logit()
