"""Any causal language model of Hugging Face as a generator, with all its weights or with adapters (LoRA).

LoRA (Hu et al. 2022) adds to every linear layer but the last a product of two thin matrices, and trains only these.
"""

import json
import warnings
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from textforge.decoding import State
from textforge.errors import CallError, UserError
from textforge.nets.embedding import tokens_before
from textforge.nets.output import token_log_probs
from textforge.sharding import by_rows
from textforge.text import Vocabulary
from textforge.text.pretrained import EXTRA, PretrainedVocabulary, folder_of

ALPHA = 2
"""The adapters' product is multiplied by this: alpha of LoRA, in ranks."""
CODE = ("auto_map", "attn_implementation", "experts_implementation", "quantization_config")
"""What in a config.json chooses code: classes beside the model, kernels of the Hub, libraries that unpack weights."""


class PretrainedGenerator(nn.Module):
    """An autoregressive language model of the form that a config.json tells; its weights come by `load_weights`.

    `forward` and `step` give what the model itself gives, restricted to the ids that may be emitted and normalised over
    them. Dropout is the model's own.
    """

    noise_dim = 0
    emitted: Int[Tensor, " V"]
    """What the model calls the ids that may be emitted."""
    read: Int[Tensor, " E"]
    """What it calls all ids."""

    def __init__(self, vocabulary: Vocabulary, max_length: int, *, lora_rank: int = 0) -> None:
        """Build the network of the vocabulary's model.

        Raises CallError for a vocabulary that is none of a pretrained model, or sequences that are too long for it;
        UserError for a model that keeps no keys and values of what it has read, and where libraries are absent.
        """
        super().__init__()
        if not isinstance(vocabulary, PretrainedVocabulary):
            if vocabulary.num_labels:
                raise CallError("a pretrained model knows no labels; leave out either them or --pretrained")
            raise CallError("--pretrained knows the tokens of its own tokenizer only; give --tokenizer the same folder")
        self.vocabulary: Vocabulary = vocabulary
        self.max_length = max_length
        library = _library()
        try:
            settings = _settings(vocabulary.architecture)
            self.model: Any = library.AutoModelForCausalLM.from_config(
                library.AutoConfig.for_model(**settings), dtype=torch.get_default_dtype(), trust_remote_code=False
            )
            longest = int(settings.get("max_position_embeddings", settings.get("n_positions", max_length)))
        except Exception as error:  # every model has its own for values that do not suit it
            raise UserError(
                f"the config.json of the pretrained model is of no language model that transformers "
                f"{library.__version__} knows ({_reason(error)}); take another model"
            ) from None
        if longest < max_length:
            raise CallError(f"the pretrained model reads {longest} tokens; set --max-length, now {max_length}, to that")
        if max(vocabulary.model_ids) >= self.model.get_input_embeddings().num_embeddings:
            raise UserError("the tokenizer.json of the pretrained model has more tokens than its network; save both")
        if lora_rank:
            self.model = _adapted(self.model, lora_rank)
        *emitted, bos = vocabulary.model_ids
        read = torch.zeros(len(vocabulary), dtype=torch.long)  # whatever stands for padding, nothing real sees it
        read[: len(emitted)], read[vocabulary.bos] = torch.tensor(emitted), bos
        self.register_buffer("emitted", read[: len(emitted)].clone(), persistent=False)
        self.register_buffer("read", read, persistent=False)
        self._forms = self._cache_forms()

    @property
    def vocab_size(self) -> int:
        """V, the number of ids that may be emitted."""
        return self.vocabulary.vocab_size

    def load_weights(self, name: str) -> None:
        """Take the weights of a model in a folder, or of the Hub, from files that run no code (safetensors).

        Raises UserError for a model of another form.
        """
        library = _library()
        folder = folder_of(name)
        try:
            config = library.AutoConfig.for_model(**_settings((folder / "config.json").read_text(encoding="utf-8")))
            loaded = library.AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=torch.get_default_dtype(),
                use_safetensors=True,
                trust_remote_code=False,
            )
        except Exception as error:
            raise UserError(f"{folder} holds no weights that can be read ({_reason(error)})") from None
        # Under LoRA the layers have moved into those that adapt them; what is trained has no counterpart.
        frozen = {
            key.removeprefix("base_model.model.").replace(".base_layer.", "."): value
            for key, value in self.model.state_dict().items()
            if ".lora_" not in key
        }
        weights = loaded.state_dict()
        if {key: value.shape for key, value in frozen.items()} != {key: it.shape for key, it in weights.items()}:
            raise UserError(f"the model in {folder} is not that of --tokenizer; give both the same folder")
        with torch.no_grad():
            for key, value in frozen.items():
                value.copy_(weights[key])

    @by_rows
    def forward(self, tokens: Int[Tensor, "B T"], inputs: Int[Tensor, "B T"] | None = None) -> Float[Tensor, "B T"]:
        """Return the log-probability of each token given those before it, in nats; 0 on padding.

        `inputs`, where given, are read in place of `tokens` (the token before, at each position): scheduled sampling.
        """
        vocabulary = self.vocabulary
        real = tokens != vocabulary.pad
        read = tokens if inputs is None else inputs
        # Padding stands behind all that is real, so that no real token sees it.
        logits = self.model(input_ids=self.read[tokens_before(read, vocabulary.bos)], use_cache=False).logits[real]
        return token_log_probs(tokens, real, logits, lambda part: part[:, self.emitted], self.vocab_size)

    def initial_state(self, batch: int, context: Any = None) -> State:
        """Return how many tokens each row has read, [B], and empty keys and values, [B K T D] each, a pair a layer.

        They have `max_length` - 1 places, the last token in the last place, so that rows of different lengths can be
        put together in one batch; what stands in front of the first token is masked.
        """
        read = torch.zeros(batch, dtype=torch.long, device=self.read.device)
        weight = self.model.get_input_embeddings().weight
        empty = tuple(
            tuple(weight.new_zeros(batch, heads, self.max_length - 1, width) for heads, width in pair)
            for pair in self._forms
        )
        return {"read": read, "caches": empty}

    def step(self, token: Int[Tensor, " B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        """Read one token a row; return the next token's logits and the new state."""
        from transformers import DynamicCache

        cache: Any = DynamicCache()
        for layer, (key, value) in enumerate(state["caches"]):
            cache.update(key, value, layer)
        read = state["read"]
        seen = torch.arange(self.max_length, device=token.device) >= self.max_length - 1 - read[:, None]
        found = self.model(
            input_ids=self.read[token][:, None],
            attention_mask=seen.long(),
            position_ids=read[:, None],
            past_key_values=cache,
            use_cache=True,
        )
        after = tuple((layer.keys[:, :, 1:], layer.values[:, :, 1:]) for layer in cache.layers)
        return found.logits[:, -1][:, self.emitted], {"read": read + 1, "caches": after}

    @torch.no_grad()
    def _cache_forms(self) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """Return heads and width of keys and of values of each layer, which only the model knows."""
        from transformers.cache_utils import DynamicLayer

        training = self.model.training
        found = self.model.eval()(input_ids=self.read[self.vocabulary.bos][None, None], use_cache=True)
        self.model.train(training)
        cache = found.get("past_key_values")
        if cache is None or not all(isinstance(layer, DynamicLayer) for layer in cache.layers):
            raise UserError(
                f"a pretrained model of the type {self.model.config.model_type} keeps more than keys and values of "
                "what it has read; take a transformer"
            )
        return [
            ((layer.keys.shape[1], layer.keys.shape[3]), (layer.values.shape[1], layer.values.shape[3]))
            for layer in cache.layers
        ]


def _settings(architecture: str) -> dict[str, Any]:
    """Return a config.json, which others may have written, without what names code to run or to fetch."""
    settings: dict[str, Any] = json.loads(
        architecture,
        object_hook=lambda part: {key: value for key, value in part.items() if not any(word in key for word in CODE)},
    )
    return settings


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _adapted(model: nn.Module, rank: int) -> nn.Module:
    """Put adapters beside every linear layer but the last; nothing else has gradients from here on."""
    try:
        import peft
    except ModuleNotFoundError:
        raise UserError(f"--lora-rank needs the library peft, which is absent; {EXTRA}") from None
    from transformers.pytorch_utils import Conv1D

    transposed = any(isinstance(part, Conv1D) for part in model.modules())  # as GPT-2 holds its matrices
    settings = peft.LoraConfig(
        r=rank, lora_alpha=ALPHA * rank, target_modules="all-linear", task_type="CAUSAL_LM", fan_in_fan_out=transposed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft reads a property that transformers has renamed
        adapted: nn.Module = peft.get_peft_model(model, settings)
    return adapted


def _library() -> ModuleType:
    try:
        import transformers
    except ModuleNotFoundError:
        raise UserError(f"--pretrained needs the library transformers, which is absent; {EXTRA}") from None
    library: Any = transformers
    library.utils.logging.disable_progress_bar()
    return transformers
