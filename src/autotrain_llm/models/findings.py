"""Findings of the search for a model: by folder, run, checkpoint or Hub id."""

from __future__ import annotations

from autotrain_llm.declare.example import SFT, WITH_ADAPTER, Example, of_adapter, of_model
from autotrain_llm.declare.rule import declare_finding

ROWS = SFT + "rows.jsonl"
ON_THE_HUB = SFT.replace("MODEL", "org/model") + "rows.jsonl"

NO_SUCH_MODEL = declare_finding(
    "M102",
    """There is no such folder or run, and the name can't be a Hub id.

    Why: a path is never looked for on the Hub.
    Fix: an existing folder, or a Hub id.
    """,
    example=of_model("./nowhere"),
)
FILE_INSTEAD_OF_FOLDER = declare_finding(
    "M103",
    """`--model` names a file, and a model is a folder.

    Why: a model is a folder with config.json, weights and tokenizer.
    Fix: the folder of the file.
    """,
    example=of_model("rows.jsonl"),
)
GGUF = declare_finding(
    "M104",
    """A GGUF file can't be trained.

    Why: its weights are quantised for inference.
    Fix: the original model, as safetensors.
    """,
    example=Example(
        SFT.replace("MODEL", "./quantised") + "rows.jsonl",
        ROWS,
        wrong="mkdir quantised\necho GGUF > quantised/model-q4.gguf",
    ),
)
BEHIND_A_SERVICE = declare_finding(
    "M105",
    """The model is available through a service only.

    Why: its weights are not public.
    Fix: a model with public weights.
    """,
    example=of_model("gpt-4"),
)
NO_SUCH_CHECKPOINT = declare_finding(
    "M106",
    """The run has no such checkpoint or step, or no complete one.

    Why: a checkpoint that was not saved completely can't be loaded.
    Fix: use the checkpoint that the finding shows.
    """,
    example=Example(
        SFT.replace("MODEL", "runs/mine@step-40") + "rows.jsonl",
        SFT.replace("MODEL", "runs/mine@last") + "rows.jsonl",
        before="mkdir runs\ncp -r MODEL runs/mine",
    ),
)
NO_BASE_MODEL = declare_finding(
    "M107",
    """The base model of an adapter, `base_model_name_or_path` in its adapter_config.json, can't be found.

    Why: an adapter has only changes to its base model's weights, and can't be used without it.
    Fix: write the base model's folder or Hub id into adapter_config.json.
    """,
    example=of_adapter(WITH_ADAPTER.replace('"MODEL"', '"./nowhere"')),
)
HUB_UNREACHABLE = declare_finding(
    "M108",
    """The model is not cached, and the Hub can't be reached, or `--offline` is set.

    Why: it can't be downloaded.
    Fix: remove `--offline`, or give the model's folder.
    """,
    example=Example(SFT.replace("MODEL", "somebody/something") + "rows.jsonl --offline", ROWS + " --offline"),
)
GATED_MODEL = declare_finding(
    "M109",
    """The model on the Hub is gated.

    Why: its owner gives access only to accounts that have accepted its terms.
    Fix: accept the terms on the Hub, and give a token.
    """,
    example=Example(ON_THE_HUB, ROWS, on="where org/model is gated on the Hub"),
)
NOT_ON_THE_HUB = declare_finding(
    "M110",
    """The Hub has no such model or revision.

    Why: the name is misspelt, or the model is private.
    Fix: correct the name, or give a token that may read it.
    """,
    example=Example(ON_THE_HUB, ROWS, on="where the Hub has no org/model"),
)
NO_SIZE = declare_finding(
    "M111",
    """`scratch:` is not followed by a size, or by one beyond 300 billion parameters.

    Why: a new model has about as many parameters as the size says.
    Fix: a number with k, m or b, such as `scratch:1m` or `scratch:0.5b`.
    """,
    example=of_model("scratch:huge", "scratch:1m"),
)
VOCABULARY_TOO_LARGE = declare_finding(
    "M112",
    """A new model is too small for the vocabulary of its tokenizer.

    Why: its embedding alone would need all of its parameters.
    Fix: a larger size, or a tokenizer with fewer tokens.
    """,
    example=of_model("scratch:1k", "scratch:1m"),
)
