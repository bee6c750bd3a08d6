"""Where everything goes."""

from __future__ import annotations

from autotrain_llm.declare.param import group, param


@group("Output", order=90, searchable=False)
class Output:
    """Where the run is written."""

    output_dir: str | None = param(
        None,
        "Folder for the model and all that belongs to the run.",
        metavar="DIR",
        default_words="runs/<trainer>-<model>-<number>",
        path="output",
        machine_specific=True,
        in_trials=False,
    )
    overwrite: bool = param(
        False,
        "Replace an earlier run in the output folder: it is moved aside until the new one is complete.",
        command=True,
        in_trials=False,
    )
    resume: bool = param(
        False, "Go on from the newest complete checkpoint in the output folder.", command=True, in_trials=False
    )
    resume_from_checkpoint: str | None = param(
        None, "Go on from this checkpoint.", metavar="DIR", command=True, path="output", in_trials=False
    )
    engine: str = param(
        "native", "What trains: this package, or TRL's own trainer to compare with.", choices=("native", "trl")
    )


@group("Hugging Face Hub", order=95, searchable=False)
class Hub:
    """Sharing the finished model, and access to gated ones."""

    push_to_hub: bool = param(False, "Upload the finished model.", in_trials=False)
    username: str | None = param(
        None, "Account or organisation to upload to.", metavar="NAME", default_words="the token's own", in_trials=False
    )
    token: str | None = param(
        None,
        "Access token; better kept in HF_TOKEN, where no shell history sees it.",
        secret=True,
        default_words="HF_TOKEN",
        used_by_inference=True,
        machine_specific=True,
    )
    hub_private: bool = param(True, "Keep the uploaded model private.", in_trials=False)
