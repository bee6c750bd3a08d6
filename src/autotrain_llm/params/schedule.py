"""When to log, evaluate and save while training."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, NO_INFLUENCE, TAKES_EFFECT, Bounds, exactly, group, nearly, param


@group("Logging, evaluation and checkpoints", order=80)
class Schedule:
    """When to log, evaluate and save."""

    logging_steps: int | None = param(
        None,
        "Log every N steps.",
        within=AT_LEAST_ONE,
        also=(-1,),
        default_words="about 100 lines a run",
        searchable=False,
        aliases="log_every_n_steps log_interval log_steps logging_interval steps_per_report",
        on_resume=NO_INFLUENCE,
    )
    log: list[str] = param(
        (),
        "Also log to these trackers: tensorboard, wandb, trackio, mlflow.",
        usual=True,
        metavar="NAMES",
        default_words="none",
        searchable=False,
        in_study_name=False,
        aliases="logger logger_name metric_logger report report_to tracker",
        meanings={
            "console file csv stdout json disk none": exactly(),
            "wandblogger": exactly(log="wandb"),
            "tensorboardlogger tensorboardx": exactly(log="tensorboard"),
            "stdoutlogger disklogger csvlogger": exactly(),
            "cometlogger": nearly("nothing can be sent there"),
            "all": nearly("each one has to be named"),
            "swanlab comet comet_ml clearml neptune dvclive dagshub codecarbon azure_ml flyte litlogger vemlp_wandb rl_logger otel": nearly(
                "nothing can be sent there"
            ),
        },
        on_resume=NO_INFLUENCE,
    )
    tracker_project: str | None = param(
        None,
        "Project of the run in the trackers of --log (MLflow's experiment). WANDB_PROJECT, TRACKIO_PROJECT and MLFLOW_EXPERIMENT_NAME win over it.",
        metavar="NAME",
        default_words="autotrain-<trainer>",
        searchable=False,
        in_study_name=False,
        aliases="mlflow_experiment_name project trackio_project trackio_project_name use_wandb_project",
        spellings="wandb_project",
        on_resume=NO_INFLUENCE,
    )
    run_name: str | None = param(
        None,
        "Name of the run in the trackers of --log.",
        metavar="NAME",
        default_words="the name of the output folder",
        searchable=False,
        in_study_name=False,
        in_trials=False,
        aliases="mlflow_run_name trackio_run_name wandb_name wandb_run_name",
        on_resume=NO_INFLUENCE,
    )
    eval_strategy: str | None = param(
        None,
        "When to evaluate.",
        choices=("no", "steps", "epoch"),
        default_words="steps with --eval-steps, else epoch where there is evaluation data",
        searchable=False,
        aliases="evaluation_strategy",
        choice_aliases={"no": "false none"},
        meanings={"true yes": nearly("it has to be said when", eval_strategy="epoch")},
        on_resume=TAKES_EFFECT,
    )
    eval_steps: int | None = param(
        None,
        "Evaluate every N steps.",
        within=AT_LEAST_ONE,
        never={"eval_steps": None, "eval_strategy": "no"},
        default_words="a tenth of the run",
        aliases="eval_every eval_freq steps_per_eval",
        spellings="eval_interval",
        on_resume=TAKES_EFFECT,
    )
    eval_batches: int | None = param(
        None,
        "Evaluate on at most N batches of --eval-batch-size rows: the same rows at each evaluation, chosen with --seed.",
        within=AT_LEAST_ONE,
        never={"eval_batches": None},
        default_words="all evaluation rows",
        searchable=False,
        aliases="eval_iters max_eval_batches num_eval_batches val_batches",
        on_resume=TAKES_EFFECT,
    )
    eval_batch_size: int | None = param(
        None,
        "Rows per device and batch in evaluation.",
        within=AT_LEAST_ONE,
        default_words="--batch-size",
        searchable=False,
        aliases="per_device_eval_batch_size val_batch_size",
        on_resume=TAKES_EFFECT,
    )
    save_strategy: str | None = param(
        None,
        "When to save a checkpoint.",
        choices=("no", "steps", "epoch"),
        default_words="steps with --save-steps, else as --eval-strategy, else epoch",
        choice_aliases={"no": "false none"},
        meanings={
            "true yes": nearly("it has to be said when", save_strategy="epoch"),
            "best": nearly(
                "each evaluation saves a checkpoint, and the best is kept",
                save_strategy=None,
                load_best_model_at_end=True,
            ),
        },
        on_resume=NO_INFLUENCE,
    )
    save_steps: int | None = param(
        None,
        "Save a checkpoint every N steps.",
        within=AT_LEAST_ONE,
        never={"save_steps": None, "save_strategy": "no"},
        default_words="the evaluation's, else 500",
        aliases="save_every save_freq save_interval",
        on_resume=NO_INFLUENCE,
    )
    save_total_limit: int = param(
        2,
        "Keep at most N checkpoints, the best among them.",
        within=AT_LEAST_ONE,
        on_resume=NO_INFLUENCE,
        aliases="max_actor_ckpt_to_keep max_ckpt_num max_ckpt_to_keep",
    )
    load_best_model_at_end: bool = param(
        False,
        "Finish with the checkpoint with the best metric instead of the last one.",
        on_resume=TAKES_EFFECT,
    )
    metric_for_best_model: str | None = param(
        None,
        "Metric that chooses the best checkpoint, with or without `eval_`.",
        metavar="NAME",
        default_words="the loss, for ppo and grpo the reward, in a sweep its metric",
        on_resume=TAKES_EFFECT,
    )
    early_stopping_patience: int | None = param(
        None,
        "Stop after N evaluations in a row without improvement, and finish with the best checkpoint.",
        within=Bounds(low=1),
        never={"early_stopping_patience": None},
        default_words="never",
        aliases="early_stopping early_stopping_steps",
        on_resume=TAKES_EFFECT,
    )
