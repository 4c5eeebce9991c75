"""What a discriminator returns."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Judgement:
    """Logits of being real, one a sequence or one a position, and the features that they were read from."""

    logits: Float[Tensor, "B *T"]
    features: Float[Tensor, "B *T F"]
