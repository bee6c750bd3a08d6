"""Which model is trained and how it is loaded."""

from __future__ import annotations

from autotrain_llm.declare.param import FIXED, NO_INFLUENCE, group, param


@group("Model", order=10, searchable=False)
class Model:
    """The model to train and its files."""

    trainer: str = param(
        "sft",
        "Kind of training to run.",
        usual=True,
        metavar="NAME",
        used_by_inference=True,
        aliases="algo algorithm method rl rlhf_type stage task train_method",
        spellings="trainer_type training_type",
        on_resume=FIXED,
    )
    model: str = param(
        None,
        "Model to start from: a folder, a Hub id, an earlier run (`runs/sft@best`), or `scratch:SIZE` for a new one.",
        usual=True,
        metavar="NAME|DIR",
        required=True,
        stage="model",
        used_by_inference=True,
        path="input",
        aliases=(
            "adapter_name_or_path adapters base_model base_model_name_or_path init_adapter initial_checkpoint_dir "
            "lora_model_dir model_id model_id_or_path model_name_or_path model_path pretrain pretrained_model "
            "pretrained_model_name_or_path sft_model_path"
        ),
        spellings="model_name from_weight path",
        on_resume=FIXED,
    )
    tokenizer: str | None = param(
        None,
        "Use the tokenizer of another folder or Hub id.",
        metavar="NAME|DIR",
        default_words="the model's",
        stage="model",
        used_by_inference=True,
        path="input",
        aliases="tokenizer_config tokenizer_dir tokenizer_id tokenizer_name tokenizer_name_or_path tokenizer_path",
        on_resume=FIXED,
    )
    revision: str | None = param(
        None,
        "Branch, tag or commit of the model on the Hub.",
        metavar="NAME",
        default_words="main",
        stage="model",
        used_by_inference=True,
        in_study_name=False,
        on_resume=FIXED,
        aliases="model_revision revision_of_model",
    )
    cache_dir: str | None = param(
        None,
        "Folder for downloads and prepared rows.",
        metavar="DIR",
        default_words="the libraries' usual caches",
        stage="model",
        used_by_inference=True,
        path="output",
        machine_specific=True,
        on_resume=NO_INFLUENCE,
    )
    offline: bool = param(
        False,
        "Use only local and cached files; never access the network.",
        used_by_inference=True,
        machine_specific=True,
        on_resume=NO_INFLUENCE,
    )
    trust_remote_code: bool = param(
        False,
        "Run Python code that comes with the model; only for code you have read.",
        used_by_inference=True,
        on_resume=NO_INFLUENCE,
    )
