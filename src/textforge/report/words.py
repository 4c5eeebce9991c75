"""How numbers, durations and texts of unknown origin are put into words."""

import math
import re
import unicodedata
from itertools import pairwise

GLOSSARY = {
    "nll_test": "how improbable real test text is to the generator, nats per token",
    "nll_valid": "how improbable held-out real text is to the generator, nats per token",
    "nll_oracle": "how improbable the samples are in the true distribution; repeating a few good ones lowers it too",
    "entropy": "how improbable the generator's samples are to itself; low where it repeats itself",
    "kl_pq": "divergence KL(P||Q) of generator Q from truth P, in nats per text; large where Q misses what P says",
    "kl_qp": "divergence KL(Q||P), in nats per text; large where Q says what P does not",
    "js": "Jensen-Shannon divergence between truth and generator, in nats per text; at most log 2",
    "sample_js": "Jensen-Shannon divergence of the samples' frequencies from the truth; read what exceeds its floor",
    "sample_js_floor": "what as many true texts have",
    "game_value": "value of the game with the discriminator as it is; it cannot exceed the optimum",
    "game_optimum": "value of the game at the best discriminator: 2 JS - log 4, so -1.386 for a perfect generator",
    "d_distance": "how far the discriminator is from the best one, p / (p + q)",
    "in_modes": "share of the samples that lie in a mode of the truth",
    "tv": "total variation distance between truth and generator; at most 1",
    "validity": "share of samples that the true distribution can produce",
    "support": "share of true texts that the generator can produce",
    "mode_coverage": "share of the known modes that the samples reach; grows with their number",
    "bleu": "n-grams of a sample found in the references; above the value of real text it speaks of repetition",
    "self_bleu": "BLEU of each sample against all others; high where samples resemble each other",
    "backward_bleu": "BLEU of the references against the samples; low where samples miss what is said",
    "distinct": "different n-grams as a share of all n-grams, over a fixed number of symbols",
    "unique": "different samples as a share of all samples",
    "exact_copy": "share of samples that stand word for word in the training text",
    "ms_jaccard": "overlap of the n-grams of samples and of real text, by how often each occurs; 1 where they agree",
    "in_test": "share of the samples' n-grams that occur in real text that was held out",
    "lm_score": "how improbable the samples are to an n-gram model of real text, nats per token; low where they are "
    "fluent, below real text where they are plainer than it",
    "reverse_lm_score": "how improbable real text is to an n-gram model of the samples, nats per token; low where they "
    "say what real text says",
    "frechet": "distance between the sentence vectors of samples and of real text; read what exceeds its floor",
    "frechet_floor": "what one half of the real text has to the other",
    "c2st": "accuracy of a classifier that tells unseen samples from real text; 0.5 where it cannot",
    "c2st_low": "lower end of its 95 % interval",
    "c2st_high": "upper end of its 95 % interval",
    "c2st_distinct": "the same accuracy with repeated texts set aside",
    "c2st_distinct_low": "lower end of its 95 % interval",
    "c2st_distinct_high": "upper end of its 95 % interval",
    "tv_bound": "the total variation distance that the classifier proves; samples and real text differ by more",
    "mauve": "how much the clouds of sentence vectors of samples and of real text share; 1 where they are alike",
    "mauve_sd": "its noise, from clustering: differences below it are none",
    "mauve_star": "MAUVE with smoothed histograms, for few texts",
    "mauve_star_sd": "its noise, from clustering",
    "copied": "share of the samples' n-grams that stand in the training text",
    "copied_real": "the same share for real text, which repeats training text by chance",
    "copied_excess": "what the samples copy above that",
    "span": "longest stretch that a sample shares with one training text, in symbols, on average",
    "span_real": "the same for real text",
    "span_max": "the longest such stretch of all samples",
    "span_max_real": "the same for real text",
    "edit": "distance of a sample to the nearest training text, on average; 0 where it is a copy, at most 1",
    "edit_real": "the same for real text",
    "exact_js": "Jensen-Shannon divergence summed over all texts, not estimated",
    "exact_tv": "total variation distance summed over all texts, not estimated",
    "exact_kl_pq": "divergence KL(P||Q) summed over all texts, not estimated",
    "exact_kl_qp": "divergence KL(Q||P) summed over all texts, not estimated",
    "mode_tv": "total variation between how often samples and true texts reach each mode; at most 1",
}
"""What the families of metrics measure."""

# Scripts whose characters look different from language to language; in others the reader's fonts decide well.
_LANGUAGES = (("ja", re.compile(r"[\u3040-\u30ff]")), ("ko", re.compile(r"[\u1100-\u11ff\uac00-\ud7af]")))
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")


def number(value: object, digits: int = 4) -> str:
    """Show a number with so many significant digits, whole ones in full; a dash for None; anything else as it is."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        text = "\N{INFINITY}" if value > 0 else "-\N{INFINITY}"
    elif isinstance(value, int) or 1000 <= abs(value) < 1e12:
        text = f"{value:,.0f}"
    else:
        text = f"{value:#.{digits}g}"
    return text.replace("-", "\N{MINUS SIGN}")


def duration(seconds: float) -> str:
    """Show a time in its two largest units: `45 s`, `12 min 4 s`, `3 h 0 min`, `2 d 4 h`."""
    left = max(0, round(seconds)) if math.isfinite(seconds) else 0
    sizes = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for (unit, size), (smaller, step) in pairwise(sizes):
        if left >= size:
            return f"{left // size} {unit} {left % size // step} {smaller}"
    return f"{left} s"


def family(name: str) -> str:
    """Return what a metric measures, without the order of its n-grams: `bleu` for `bleu_4`."""
    return re.sub(r"_\d+$", "", name.removesuffix("_se"))


def language(text: str) -> str:
    """Return the language tag by which a browser picks the right forms of Han characters; empty where it is unknown."""
    for tag, characters in _LANGUAGES:
        if characters.search(text):
            return tag
    return "zh" if _HAN.search(text) else ""


def visible(text: str) -> str:
    """Replace what HTML cannot carry or a reader cannot see: control characters by their pictures, half surrogates."""
    if text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    match unicodedata.category(character):
        case "Cc" if ord(character) < 0x20:
            return chr(0x2400 + ord(character))
        case "Cc" | "Cs":
            return "\N{REPLACEMENT CHARACTER}"
    return character
