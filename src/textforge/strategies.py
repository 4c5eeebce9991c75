"""How texts are drawn from a finished generator: plainly, from surer tokens, by search, or by a detector's choice."""

from functools import partial

from jaxtyping import Float, Int
from torch import Tensor

from textforge.decoding import Decoded, Generator, sample
from textforge.detector import Detector
from textforge.errors import CallError, UserError
from textforge.options import Strategy
from textforge.resampling import reject, rerank, resample
from textforge.search import Opinion, beam, tree_search
from textforge.shaping import tempered, top_k, top_p


def decode_by(
    strategy: Strategy, generator: Generator, num: int, *, detector: Detector | None = None, temperature: float = 1.0
) -> Decoded:
    """Draw `num` sequences from torch's global random numbers.

    Their log-probabilities are those of the generator, or of what greedy, top-k and top-p leave of it. Raises CallError
    for a temperature that has no meaning, and UserError for a generator driven by noise where its tokens must be known
    one by one, and for a detector that was trained at another temperature.
    """
    opinion = _require_meaning(strategy, generator, detector, temperature)
    draw = partial(sample, generator, temperature=temperature)
    match strategy.decode:
        case "ancestral":
            return draw(num)
        case "greedy":
            return sample(top_k(generator, 1), num)
        case "top-k":
            return sample(top_k(generator, strategy.k), num, temperature=temperature)
        case "top-p":
            return sample(top_p(tempered(generator, temperature), strategy.p), num)
        case "beam":
            return beam(generator, num, width=strategy.width, opinion=opinion if strategy.guided else None)
        case "rerank":
            return rerank(draw, opinion, num, candidates=strategy.candidates)
        case "resample":
            return resample(draw, opinion, num, candidates=strategy.candidates)
        case "reject":
            return reject(draw, opinion, num).decoded
        case "mcts":
            return tree_search(generator, opinion, num, simulations=strategy.simulations)


def _require_meaning(
    strategy: Strategy, generator: Generator, detector: Detector | None, temperature: float
) -> Opinion:
    """Return what judges; raise the error of a call that asks for what is not there."""
    if temperature != 1 and strategy.decode in ("greedy", "beam", "mcts"):
        raise CallError(f"--decode {strategy.decode} has no temperature; leave out --temperature")
    if generator.noise_dim and strategy.decode in ("greedy", "top-k", "top-p", "beam", "mcts"):
        raise UserError(f"noise drives this model, and {strategy.decode} needs a likelihood; use ancestral or resample")
    if not strategy.judged:
        return _nobody
    assert detector is not None, "who asks for a judgement brings the judge"
    if temperature != detector.temperature:
        raise UserError(
            f"the detector knows samples of temperature {detector.temperature:g}, not {temperature:g}; sample at the "
            f"former, or train it anew: textforge detector RUN --temperature {temperature:g}"
        )
    return detector.logits


def _nobody(tokens: Int[Tensor, "R T"]) -> Float[Tensor, " R"]:
    raise AssertionError("nobody was asked for an opinion")
