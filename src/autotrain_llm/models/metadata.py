"""What a model's files say about it: no weights are loaded, and no model library is imported.

`read_metadata` reads the files; the rules in `checks/` report what is wrong with them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from autotrain_llm.declare.document import parse_json
from autotrain_llm.declare.lfs import LFS_POINTER, NEVER_DOWNLOADED
from autotrain_llm.models.locate import ADAPTER, ADAPTER_CONFIG, SCRATCH, Located, read_json
from autotrain_llm.models.safetensors_header import is_all_zero
from autotrain_llm.models.weights import Weights, index_names, read_weights, remote_weights

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "tiktoken.model",
    "vocab.tiktoken",
)
ENCODERS = frozenset(
    [
        "albert",
        "bert",
        "big_bird",
        "camembert",
        "convbert",
        "data2vec-text",
        "deberta",
        "deberta-v2",
        "distilbert",
        "electra",
        "ernie",
        "esm",
        "eurobert",
        "flaubert",
        "funnel",
        "ibert",
        "jina_bert",
        "layoutlm",
        "longformer",
        "megatron-bert",
        "mobilebert",
        "modernbert",
        "mpnet",
        "nomic_bert",
        "nystromformer",
        "rembert",
        "roberta",
        "roberta-prelayernorm",
        "roformer",
        "squeezebert",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
        "yoso",
    ]
)
# Their first position is the one after the padding token's number, so that a table of 514 holds texts of 512 tokens.
COUNT_FROM_PADDING = frozenset(
    [
        "camembert",
        "data2vec-text",
        "ibert",
        "longformer",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    ]
)
ENCODER_DECODERS = frozenset(
    [
        "bart",
        "bigbird_pegasus",
        "blenderbot",
        "blenderbot-small",
        "encoder-decoder",
        "fsmt",
        "led",
        "longt5",
        "m2m_100",
        "marian",
        "mbart",
        "mt5",
        "mvp",
        "pegasus",
        "pegasus_x",
        "plbart",
        "prophetnet",
        "seamless_m4t",
        "switch_transformers",
        "t5",
        "t5gemma",
        "udop",
        "umt5",
        "whisper",
    ]
)
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length", "n_ctx")
EMBEDDING = re.compile(r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|shared|embed_in|tok_embeddings)\.weight$")
WHOLE_TABLE = re.compile(
    r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|shared|embed_in|tok_embeddings|lm_head|embed_out)"
    r"(?:\.(?:base_layer|token_adapter|modules_to_save|default))*\.weight$"
)
SCORE_HEAD = re.compile(r"(?:^|\.)(?:score|classifier)(?:\.modules_to_save)?(?:\.(?:default|dense|out_proj))*\.weight$")
NOT_LINEAR = re.compile(
    r"embed|wte|wpe|norm|ln_|lm_head|embed_out|^score|classifier|relative_attention_bias|rotary|conv1d", re.IGNORECASE
)
DTYPE_NAMES = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}


# The parameter for each setting of adapter_config.json that is fixed when an adapter is made.
ADAPTER_SETTINGS = {
    "lora_r": "r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "use_dora": "use_dora",
    "use_rslora": "use_rslora",
    "target_modules": "target_modules",
}


@dataclass(frozen=True)
class ModelMetadata:
    """A model's metadata; for an adapter that of its base, with the adapter's own in addition. `config` is None if there is none to read,
    and `config_fault` is the reason. `remote_shapes` and `remote_names` take the place of the tensors for a model on the Hub."""

    located: Located
    config: Mapping[str, Any] | None
    config_fault: str | None
    weights: Weights
    adapter_config: Mapping[str, Any] | None = None
    adapter_weights: Weights = field(default_factory=Weights)
    remote_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    remote_names: tuple[str, ...] = ()

    # --- where and what -----------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The model as the user wrote it."""
        return self.located.name

    @property
    def is_scratch(self) -> bool:
        return self.located.kind == SCRATCH

    @property
    def is_adapter(self) -> bool:
        return self.located.kind == ADAPTER

    @property
    def adapter_settings(self) -> dict[str, Any]:
        """What an adapter was made with, by the parameter of the same meaning; empty for a model that is none."""
        own = self.adapter_config or {}
        settings = {name: own.get(ADAPTER_SETTINGS[name]) for name in ADAPTER_SETTINGS}
        return {name: value for name, value in settings.items() if value is not None}

    @property
    def model_located(self) -> Located:
        """Where the whole model is: for an adapter its base, however far down."""
        located = self.located
        while located.base is not None:
            located = located.base
        return located

    @property
    def folder(self) -> Path | None:
        """The folder of the whole model's files."""
        return self.model_located.folder

    @property
    def is_remote(self) -> bool:
        return self.model_located.remote_files is not None

    def setting(self, *keys: str) -> Any:
        """The first of these keys that the config has, at its top level or in the text part of a multimodal model."""
        config = self.config or {}
        text = config.get("text_config")
        for part in (config, text if isinstance(text, dict) else {}):
            for key in keys:
                if part.get(key) is not None:
                    return part[key]
        return None

    def number(self, *keys: str) -> int | None:
        value = self.setting(*keys)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    # --- what kind of model -------------------------------------------------------------------------------------

    @property
    def model_type(self) -> str | None:
        kind = (self.config or {}).get("model_type")
        return kind if isinstance(kind, str) and kind else None

    @property
    def architectures(self) -> tuple[str, ...]:
        names = (self.config or {}).get("architectures") or ()
        return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()

    @property
    def is_encoder_decoder(self) -> bool:
        return self.setting("is_encoder_decoder") is True or self.model_type in ENCODER_DECODERS

    @property
    def is_encoder(self) -> bool:
        return self.model_type in ENCODERS and self.setting("is_decoder") is not True

    @property
    def is_classifier(self) -> bool:
        """Whether the model scores: a sequence classifier, or an adapter that makes its base one."""
        task = (self.adapter_config or {}).get("task_type")
        return task == "SEQ_CLS" or any(name.endswith("ForSequenceClassification") for name in self.architectures)

    @property
    def other_task(self) -> str | None:
        """The architecture's name where it is made for neither generating nor scoring, such as `BertForTokenClassification`."""
        fitting = (
            "ForCausalLM",
            "LMHeadModel",
            "ForConditionalGeneration",
            "ForSequenceClassification",
            "ForMaskedLM",
            "ForPreTraining",
        )
        if not self.architectures or any(name.endswith(fitting) for name in self.architectures):
            return None
        return next((name for name in self.architectures if re.search(r"[a-z]For[A-Z]", name)), None)

    @property
    def is_causal_lm(self) -> bool:
        """Whether the model generates text left to right."""
        if self.config is None or self.model_type is None:
            return False
        return not (self.is_encoder or self.is_encoder_decoder or self.is_classifier or self.other_task)

    @property
    def num_labels(self) -> int:
        """The number of scores of a classifier; 2 if its config doesn't say, as in transformers."""
        config = self.config or {}
        names = config.get("id2label")
        if isinstance(names, dict) and names:
            return len(names)
        count = config.get("num_labels")
        return count if isinstance(count, int) else 2

    @property
    def score_names(self) -> tuple[str, ...]:
        """The names of a classifier's outputs in order: those of its config; of an adapter, those that its run recorded, else numbers."""
        if not self.is_adapter:
            names = (self.config or {}).get("id2label")
            by_number = {str(number): str(name) for number, name in names.items()} if isinstance(names, dict) else {}
            return tuple(by_number.get(str(at), f"LABEL_{at}") for at in range(self.num_labels))
        recorded = self._recorded_outputs.get("labels")
        heads = [
            self.adapter_weights.tensors[name] for name in self.score_heads if name in self.adapter_weights.tensors
        ]
        count = next((tensor.shape[0] for tensor in heads if len(tensor.shape) == 2), 1)
        if isinstance(recorded, list) and len(recorded) == count:
            return tuple(map(str, recorded))
        return tuple(f"LABEL_{at}" for at in range(count))

    @property
    def gives_scores(self) -> bool:
        """Whether each output of a classifier is a score: it has only one, or was trained by regression. Else they are logits of classes."""
        recorded = self._recorded_outputs if self.is_adapter else self.config or {}
        return len(self.score_names) == 1 or recorded.get("problem_type") == "regression"

    @cached_property
    def _recorded_outputs(self) -> Mapping[str, Any]:
        """What the run that wrote this folder has recorded of the model's outputs."""
        folder = self.located.folder
        if folder is None:
            return {}
        root = folder.parent.parent if folder.parent.name == "checkpoints" else folder
        plan = (read_json(root / "run.json") or {}).get("plan") if (root / "run.json").is_file() else None
        model = plan.get("model") if isinstance(plan, dict) else None
        return model if isinstance(model, dict) else {}

    @property
    def custom_code(self) -> Mapping[str, Any]:
        """The Python classes that the config loads from the model's own files."""
        code = (self.config or {}).get("auto_map")
        return code if isinstance(code, dict) else {}

    @property
    def quantization(self) -> str | None:
        """The method that the weights were quantised with (`gptq`, `bitsandbytes`); None if they are not quantised."""
        quantised = self.setting("quantization_config")
        if not isinstance(quantised, dict):
            return None
        method = quantised.get("quant_method")
        return method if isinstance(method, str) and method else "an unnamed method"

    # --- sizes --------------------------------------------------------------------------------------------------

    @property
    def context_length(self) -> int | None:
        """The longest text that the config allows, in tokens."""
        positions = self.number(*CONTEXT_KEYS)
        if positions is None or self.model_type not in COUNT_FROM_PADDING:
            return positions
        padding = self.number("pad_token_id")
        return positions - (1 if padding is None else padding) - 1

    @property
    def rope_scaling(self) -> Mapping[str, Any] | None:
        """How positions are scaled beyond the trained ones (RoPE scaling); None if they are not."""
        scaling = self.setting("rope_scaling", "rope_parameters")
        if not isinstance(scaling, dict):
            return None
        kind = scaling.get("rope_type", scaling.get("type"))
        return scaling if kind not in (None, "default") else None

    @property
    def sliding_window(self) -> int | None:
        if self.setting("use_sliding_window") is False:
            return None
        return self.number("sliding_window")

    @property
    def vocab_size(self) -> int | None:
        return self.number("vocab_size")

    @property
    def hidden_size(self) -> int | None:
        return self.number("hidden_size", "n_embd", "d_model", "dim")

    @property
    def layers(self) -> int | None:
        return self.number("num_hidden_layers", "n_layer", "num_layers", "n_layers")

    @property
    def heads(self) -> int | None:
        return self.number("num_attention_heads", "n_head", "num_heads", "n_heads")

    @property
    def intermediate_size(self) -> int | None:
        return self.number("intermediate_size", "n_inner", "d_ff", "ffn_dim")

    @property
    def is_tied(self) -> bool:
        """Whether the input embedding is also the output head; if the config doesn't say, transformers' default."""
        tied = self.setting("tie_word_embeddings")
        return tied if isinstance(tied, bool) else True

    @property
    def dtype(self) -> str | None:
        """The dtype of the stored weights: the config's, else that of the largest part of the tensors."""
        named = self.setting("dtype", "torch_dtype")
        if isinstance(named, str):
            return named.removeprefix("torch.")
        sizes: dict[str, int] = {}
        for tensor in self.weights.tensors.values():
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.size
        return DTYPE_NAMES.get(max(sizes, key=lambda name: sizes[name])) if sizes else None

    @cached_property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the model's tensors by name, as far as they are known."""
        return {name: tensor.shape for name, tensor in self.weights.tensors.items()} or dict(self.remote_shapes)

    @cached_property
    def parameters(self) -> int | None:
        """The number of parameters: counted, else from the files' size, else from the config."""
        if self.tensors and not self.quantization and not self.weights.missing:
            return sum(math.prod(shape) for shape in self.tensors.values())
        return self._parameters_of_shape()

    def _parameters_of_shape(self) -> int | None:
        hidden, layers, vocab_size = self.hidden_size, self.layers, self.vocab_size
        if not hidden or not layers or not vocab_size:
            return None
        inner = self.intermediate_size or 4 * hidden
        gated = 3 if self.setting("hidden_act") in ("silu", "gelu_pytorch_tanh") else 2
        heads = self.heads or 1
        head = self.number("head_dim") or hidden // heads
        queries, keys = heads * head, (self.number("num_key_value_heads") or heads) * head
        experts = self.number("num_local_experts", "num_experts", "n_routed_experts") or 1
        layer = 2 * hidden * queries + 2 * hidden * keys + experts * gated * hidden * inner + 2 * hidden
        return (1 if self.is_tied else 2) * vocab_size * hidden + layers * layer + hidden

    @property
    def embedding_rows(self) -> int | None:
        """The number of token ids with an embedding: the adapter's own embedding, else the tensor's rows, else the config's vocab_size."""
        for tensors in (self.adapter_weights.tensors, self.weights.tensors):
            rows = [
                tensor.shape[0] for name, tensor in tensors.items() if EMBEDDING.search(name) and len(tensor.shape) == 2
            ]
            if rows:
                return max(rows)
        rows = [shape[0] for name, shape in self.remote_shapes.items() if EMBEDDING.search(name) and len(shape) == 2]
        return max(rows) if rows else self.vocab_size

    @property
    def added_rows(self) -> int | None:
        """The rows of an adapter's own embedding or head, which has those of added tokens; None if it has neither."""
        own = [
            tensor.shape[0]
            for name, tensor in self.adapter_weights.tensors.items()
            if WHOLE_TABLE.search(name) and len(tensor.shape) == 2
        ]
        return max(own) if own else None

    # --- modules ------------------------------------------------------------------------------------------------

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """Full names of everything that has a weight, `model.layers.0.self_attn.q_proj`; empty if the tensors are unknown."""
        names = self.tensors or dict.fromkeys(self.remote_names, ())
        suffixes = (".weight", ".qweight")
        return tuple(sorted({name.removesuffix(end) for name in names for end in suffixes if name.endswith(end)}))

    @cached_property
    def linear_modules(self) -> tuple[str, ...]:
        """Full names of the linear layers that can have an adapter: no embeddings, heads or norms."""
        matrices = {
            name.rpartition(".")[0]
            for name, shape in self.tensors.items()
            if len(shape) == 2 or name.endswith("qweight")
        }
        with_matrix = matrices if self.tensors else set(self.modules)
        return tuple(
            name for name in self.modules if name in with_matrix and not NOT_LINEAR.search(name.rpartition(".")[2])
        )

    @property
    def linear_names(self) -> tuple[str, ...]:
        """What `--target-modules` can name: `down_proj`, `q_proj`, …"""
        return tuple(sorted({name.rpartition(".")[2] for name in self.linear_modules}))

    # --- a score head -------------------------------------------------------------------------------------------

    @property
    def score_heads(self) -> tuple[str, ...]:
        """The tensors of the score head, of an adapter or of the model."""
        names = (*self.adapter_weights.tensors, *self.tensors)
        return tuple(name for name in names if SCORE_HEAD.search(name))

    @cached_property
    def has_blank_head(self) -> bool:
        """Whether there is a score head, and all its values are zero."""
        for weights in (self.adapter_weights, self.weights):
            heads = [name for name in weights.tensors if SCORE_HEAD.search(name)]
            if heads:
                return all(is_all_zero(weights.home[name], weights.tensors[name]) for name in heads)
        return False

    # --- the tokenizer ------------------------------------------------------------------------------------------

    @property
    def tokenizer_folder(self) -> Path | None:
        """The folder of the tokenizer: the adapter's, if it has one, else the model's; None if there is none."""
        located: Located | None = self.located
        while located is not None:
            if located.folder is not None and tokenizer_files(located.folder):
                return located.folder
            located = located.base
        return None

    @property
    def tokenizer_files(self) -> tuple[str, ...]:
        folder = self.tokenizer_folder
        return tokenizer_files(folder) if folder else ()


def tokenizer_files(folder: Path) -> tuple[str, ...]:
    """The files of a folder that hold a tokenizer's vocabulary."""
    return tuple(name for name in TOKENIZER_FILES if (folder / name).exists())


def _tokens_of(spec: Mapping[str, Any]) -> tuple[Any, list[dict[str, Any]]]:
    """The vocabulary of a tokenizer.json, whatever it is, and those of its added tokens that have the form of one."""
    model, added = spec.get("model"), spec.get("added_tokens")
    tokens = [token for token in added if isinstance(token, dict)] if isinstance(added, list) else []
    return model.get("vocab") if isinstance(model, dict) else None, tokens


def highest_token_id(tokenizer_folder: Path) -> int | None:
    """The highest id that a tokenizer can give, from its tokenizer.json; None if that is missing or has another form."""
    spec = read_json(tokenizer_folder / "tokenizer.json")
    if spec is None:
        return None
    vocabulary, tokens = _tokens_of(spec)
    ids = [token["id"] for token in tokens if isinstance(token.get("id"), int)]
    if isinstance(vocabulary, dict):
        ids += [value for value in vocabulary.values() if isinstance(value, int)]
    elif isinstance(vocabulary, list):
        ids.append(len(vocabulary) - 1)
    return max(ids, default=None)


def tokens_of_config(tokenizer_folder: Path) -> tuple[str, ...]:
    """Tokens that tokenizer_config.json names and tokenizer.json lacks: they get the next free ids when the tokenizer is loaded."""
    spec, config = read_json(tokenizer_folder / "tokenizer.json"), read_json(tokenizer_folder / "tokenizer_config.json")
    if spec is None or config is None:
        return ()
    vocabulary, tokens = _tokens_of(spec)
    existing_tokens = {str(token.get("content")) for token in tokens}
    if isinstance(vocabulary, dict):
        existing_tokens |= set(vocabulary)
    elif isinstance(vocabulary, list):
        existing_tokens |= {str(entry[0]) for entry in vocabulary if isinstance(entry, list) and entry}
    named = [config.get(f"{name}_token") for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")]
    texts = [token.get("content") if isinstance(token, dict) else token for token in named]
    return tuple(
        dict.fromkeys(text for text in texts if isinstance(text, str) and text and text not in existing_tokens)
    )


# --- reading --------------------------------------------------------------------------------------------------------


def read_metadata(located: Located) -> ModelMetadata:
    """Read a located model's metadata files. Content never raises an exception: a broken file is recorded for the checks."""
    facts_of = located
    while facts_of.base is not None:
        facts_of = facts_of.base
    if facts_of.folder is None:
        return ModelMetadata(located, None, None, Weights(), *_adapter(located))
    config, fault = read_config(facts_of.folder / "config.json")
    remote_names = index_names(facts_of.folder) if facts_of.remote_files is not None else ()
    weights = remote_weights(facts_of) if facts_of.remote_files is not None else read_weights(facts_of.folder)
    return ModelMetadata(located, config, fault, weights, *_adapter(located), facts_of.remote_tensors, remote_names)


def _adapter(located: Located) -> tuple[Mapping[str, Any] | None, Weights]:
    if located.kind != ADAPTER or located.folder is None:
        return None, Weights()
    config = read_json(located.folder / ADAPTER_CONFIG)
    if located.remote_files is not None:
        return config, remote_weights(located, stem="adapter_model")
    return config, read_weights(located.folder, stem="adapter_model")


def read_config(path: Path) -> tuple[dict[str, Any] | None, str | None]:
    """A config and None, or None and what is wrong with the file."""
    try:
        text = path.read_text(encoding="utf-8")
        if text.startswith(LFS_POINTER.decode()):
            return None, NEVER_DOWNLOADED
        value = parse_json(text)
    except FileNotFoundError:
        return None, "is missing"
    except UnicodeDecodeError:
        return None, "is no text"
    except ValueError as error:
        return None, f"is no JSON ({getattr(error, 'msg', error)} in line {getattr(error, 'lineno', 1)})"
    except OSError as error:
        return None, f"can't be read ({error.strerror})"
    return (value, None) if isinstance(value, dict) else (None, "is no JSON object")
