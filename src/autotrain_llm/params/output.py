"""Where everything goes."""

from __future__ import annotations

from autotrain_llm.declare.param import FIXED, NO_INFLUENCE, exactly, group, param
from autotrain_llm.params.launching import AUTO


@group("Output", order=90, searchable=False)
class Output:
    """Where the run is written."""

    output_dir: str | None = param(
        None,
        "Output folder for the model, checkpoints, logs and report.",
        usual=True,
        metavar="DIR",
        default_words="runs/<trainer>-<model>-<number>",
        path="output",
        machine_specific=True,
        in_trials=False,
        aliases="default_local_dir export_dir out_dir output save_dir save_path",
        spellings="project_name",
        on_resume=NO_INFLUENCE,
    )
    overwrite: bool = param(
        False,
        "Replace an earlier run in the output folder; it is moved aside until the new one is complete.",
        command=True,
        in_trials=False,
        aliases="overwrite_output_dir",
        on_resume=NO_INFLUENCE,
    )
    resume: bool | str = param(
        False,
        "Resume from the newest complete checkpoint in the output folder; with auto from the start where there is none yet.",
        usual=True,
        also=(AUTO,),
        command=True,
        in_trials=False,
        on_resume=NO_INFLUENCE,
    )
    resume_from_checkpoint: str | None = param(
        None,
        "Resume from this checkpoint.",
        metavar="DIR",
        command=True,
        path="output",
        in_trials=False,
        meanings={"true": exactly(resume=True), "false": exactly(), "latest last auto": exactly(resume="auto")},
        aliases="resume_from resume_from_path resume_path",
        on_resume=NO_INFLUENCE,
    )
    engine: str = param(
        "native",
        "Training engine: this package's own, or TRL's trainer for comparison.",
        choices=("native", "trl"),
        on_resume=FIXED,
    )


@group("Hugging Face Hub", order=95, searchable=False, on_resume=NO_INFLUENCE)
class Hub:
    """Sharing the finished model, and access to gated ones."""

    push_to_hub: bool = param(
        False,
        "Upload the finished model.",
        in_trials=False,
        aliases="hub_model_id hub_name hub_path hub_repo_id push_model push_to_hub_id push_to_hub_model_id repo_id repository_id",
    )
    username: str | None = param(
        None,
        "Account or organisation to upload to.",
        metavar="NAME",
        default_words="the token's own",
        in_trials=False,
        aliases="hf_user hf_username hub_organization hub_user hub_username organization push_to_hub_organization user",
    )
    token: str | None = param(
        None,
        "Hub access token; prefer the variable HF_TOKEN, which no shell history records.",
        secret=True,
        variable="HF_TOKEN",
        default_words="HF_TOKEN",
        used_by_inference=True,
        machine_specific=True,
        aliases="access_token hf_access_token hf_hub_token hf_token hub_token huggingface_token push_to_hub_token",
    )
    hub_private: bool = param(
        True,
        "Keep the uploaded model private.",
        in_trials=False,
        aliases="hub_private_repo is_private private private_repo",
    )
