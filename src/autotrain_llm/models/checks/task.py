"""Whether a model is of a kind that can be trained: its code, its task, its quantisation."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.declare.example import PAIRS, REWARD, of_config_key, of_model
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.models.checks.naming import first_of, label, path_of
from autotrain_llm.models.checks.roles import LANGUAGE_MODEL
from autotrain_llm.models.classifiers import has_classifier, has_generator
from autotrain_llm.models.metadata import ModelMetadata
from autotrain_llm.models.package_source import source_of


@rule(
    "M141",
    blocks="model",
    roles=(LANGUAGE_MODEL,),
    example=of_config_key(
        '"model_type": "llama"', '"model_type": "mine", "auto_map": {"AutoModelForCausalLM": "mine.Mine"}'
    ),
)
def code_of_a_model_must_be_allowed(
    metadata: ModelMetadata, parameter: str = "model", trust_remote_code: bool = False
) -> Iterator[Finding]:
    """A model whose architecture is Python code of its own, or is not in the installed transformers.

    Why: such code runs only with `--trust-remote-code`.
    Fix: read the code, then add `--trust-remote-code`; or another model.
    """
    if not metadata.model_type or is_known_architecture(metadata.model_type):
        return
    parameters: tuple[str, ...] = (parameter,)
    if metadata.custom_code and not trust_remote_code:
        message = "brings its own Python code (auto_map in config.json), which runs only with --trust-remote-code"
        fix = "read its code, then add --trust-remote-code; or take a model of an architecture in transformers"
        parameters = (parameter, "trust_remote_code")
    elif missing := _missing_code(metadata):
        message = f"lacks its own Python code: auto_map in config.json names {first_of(missing)}, which is missing"
        fix = "copy or download the model's .py files too"
    elif not metadata.custom_code:
        message = f"has the model_type {metadata.model_type}, which the installed transformers does not know"
        fix = "upgrade transformers, or take another model"
    else:
        return
    file = path_of(metadata.folder, "config.json")
    yield Finding(f"{label(metadata, parameter)} {message}", fix=fix, parameters=parameters, file=file)


def _missing_code(metadata: ModelMetadata) -> list[str]:
    """Files of the model's own code that its config names and that are not in its folder."""
    if metadata.is_remote or metadata.folder is None:
        return []
    classes = [
        name for value in metadata.custom_code.values() for name in (value if isinstance(value, list) else [value])
    ]
    own = {str(name).rpartition(".")[0] + ".py" for name in classes if name and "--" not in str(name)}
    return sorted(name for name in own if not (metadata.folder / name).exists())


def is_known_architecture(model_type: str) -> bool:
    """Whether the installed transformers has this model_type, read from its table as text; True if there is no table to read."""
    files = ("models/auto/auto_mappings.py", "models/auto/configuration_auto.py")
    texts = [text for file in files if (text := source_of("transformers", file))]
    return not texts or any(f'("{model_type}", ' in text for text in texts)


@rule("M142", blocks="model", roles=(LANGUAGE_MODEL,), example=of_model("SCORER"))
def a_trained_model_generates(metadata: ModelMetadata, trainer: str, parameter: str = "model") -> Iterator[Finding]:
    """An encoder, an encoder-decoder, a classifier or a model for another task where a causal language model is trained.

    Why: the trainer needs a model that generates text.
    Fix: a causal language model.
    """
    if metadata.config is None or metadata.model_type is None or TRAINERS[trainer].trains_a_scorer:
        return
    fix = f"{flag_of(parameter)} <a causal language model>"
    parameters = (parameter, "trainer")
    if metadata.is_causal_lm:
        # Architectures that read more than text, or do something else, may have no class for text generation.
        known = is_known_architecture(metadata.model_type)
        if known and not metadata.custom_code and not has_generator(metadata.model_type):
            kind = f" ({metadata.architectures[0]})" if metadata.architectures else ""
            message = (
                f"{label(metadata, parameter)}: the installed transformers has no causal language model for {metadata.model_type}{kind}, "
                f"and {trainer} trains one"
            )
            yield Finding(message, fix=fix, parameters=parameters)
        return
    if metadata.is_classifier:
        named = f" ({metadata.architectures[0]})" if metadata.architectures and not metadata.is_adapter else ""
        kind = f"scores texts{named} and generates none"
        fix += ", or --trainer reward to train it further" if parameter == "model" else ""
    elif metadata.is_encoder_decoder:
        kind = "is an encoder-decoder, and only decoders can be trained"
    elif metadata.is_encoder:
        kind = "is an encoder: its attention is bidirectional, and it can't generate text"
        fix += ", or --trainer reward, which can use an encoder" if parameter == "model" else ""
    else:
        kind = f"is made for another task ({metadata.other_task})"
    message = (
        f"{label(metadata, parameter)} ({metadata.model_type}) {kind}, but {trainer} trains a model that generates"
    )
    yield Finding(message, fix=fix, parameters=parameters)


@rule(
    "M143",
    blocks="model",
    roles=(LANGUAGE_MODEL,),
    example=of_config_key('"llama"', '"t5"', rows=PAIRS, command=REWARD),
)
def a_reward_model_can_score(metadata: ModelMetadata, trainer: str, parameter: str = "model") -> Iterator[Finding]:
    """An encoder-decoder, a model for another task, or an architecture without a sequence classifier where a reward model is trained.

    Why: a reward model is a decoder or an encoder with a score head.
    Fix: a decoder or an encoder.
    """
    if not TRAINERS[trainer].trains_a_scorer or metadata.config is None or metadata.model_type is None:
        return
    if metadata.is_encoder_decoder or metadata.other_task:
        kind = "an encoder-decoder" if metadata.is_encoder_decoder else f"made for another task ({metadata.other_task})"
        message = (
            f"({metadata.model_type}) is {kind}; the reward trainer adds its score head to a decoder or an encoder"
        )
        fix = "<a decoder or an encoder>"
    elif not has_classifier(metadata.model_type) and is_known_architecture(metadata.model_type):
        message = f"can't score: the installed transformers has no sequence classifier for {metadata.model_type}"
        fix = "<a model of another architecture, such as llama, qwen3 or bert>"
    else:
        return
    yield Finding(f"{label(metadata, parameter)} {message}", f"{flag_of(parameter)} {fix}", (parameter, "trainer"))


@rule(
    "M144",
    roles=(LANGUAGE_MODEL,),
    example=of_config_key("^{", '{"quantization_config": {"quant_method": "gptq", "bits": 4}, '),
)
def a_quantised_model_needs_an_adapter(
    metadata: ModelMetadata, parameter: str = "model", peft: bool = False
) -> Iterator[Finding]:
    """A model that is already quantised, with full fine-tuning.

    Why: quantised weights can't be trained.
    Fix: `--peft`, or the original model.
    """
    if metadata.quantization and not peft:
        yield Finding(
            f"{label(metadata, parameter)} is already quantised (quantization_config in config.json: {metadata.quantization}), "
            "and quantised weights can't be trained",
            changes={"peft": True},
            otherwise="or take the original model",
            parameters=(parameter, "peft"),
        )
