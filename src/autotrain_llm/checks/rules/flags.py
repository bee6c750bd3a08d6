"""Parameters that do not go together, or whose values can hardly be meant: everything that flags alone can tell."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from autotrain_llm.config.metric_choice import can_be_best_at, in_full, so_that_it_is_reported
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.text import plain_number
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.params.lora import Lora
from autotrain_llm.params.precision import Precision
from autotrain_llm.planning.evaluation import needs_evaluation_rows
from autotrain_llm.planning.schedule import asked_evaluation, asked_saving

TRACKERS = ("tensorboard", "wandb", "trackio")
HUB_TOKENS = ("hf_", "api_")  # today's, and those of organisations of old
A_VARIABLE = re.compile(r"\$\{?\w+\}?|%\w+%")


@rule("P310", WARNING, refuses="--trainer dpo --lr 2e-4", accepts="--trainer dpo --lr 5e-7")
def a_learning_rate_should_suit_trainer_and_method(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """The learning rate is far from what works for this trainer, with full training or with LoRA.

    Why: too high a rate destroys a pre-trained model within a few steps; too low a one changes nothing and looks like training.
    A new model (`scratch:`) wants a high one and is not judged.
    Fix: the value that is shown.
    """
    lr, lora = config.lr, bool(config.peft)
    if lr is None or lr <= 0 or str(config.model or "").startswith("scratch:"):
        return
    low, high, usual, method = learning_rates(trainer, lora)
    if lr > high:
        yield Finding(
            f"--lr {exactly(lr)} is far above what {trainer.name} stands with {method}; {exactly(usual)} is usual",
            changes={"lr": exactly(usual)},
            parameters=("lr",),
        )
    elif lr < low:
        yield Finding(
            f"--lr {exactly(lr)} is so low for {trainer.name} with {method} that hardly a weight moves; {exactly(usual)} is usual",
            changes={"lr": exactly(usual)},
            parameters=("lr",),
        )


def learning_rates(trainer: Trainer, lora: bool) -> tuple[float, float, float, str]:
    """From which to which rate a trainer learns, the one that is usual, and the method in words."""
    low, high = trainer.learning_rates["lora" if lora else "full"]
    return low, high, trainer.usual["lr"].value(lora), "--peft" if lora else "full training (no --peft)"


def exactly(number: float) -> str:
    """A small number the way it is typed: 5e-7."""
    mantissa, _, exponent = f"{number:e}".partition("e")
    if -4 < int(exponent) < 4:
        return f"{number:g}"
    return f"{float(mantissa):g}e{int(exponent)}"


@rule("P311", WARNING, refuses="--peft --lora-r 128 --lora-alpha 8", accepts="--peft --lora-r 32 --lora-alpha 64")
def lora_alpha_should_not_fade_the_adapter(config: Lora) -> Iterator[Finding]:
    """`--lora-alpha` divided by `--lora-r` is far below one.

    Why: the adapter's output is multiplied by alpha / r (with `--use-rslora` by alpha / sqrt(r)); at a small fraction the adapter hardly
    takes part.
    Fix: an alpha of once or twice the rank.
    """
    if not (config.peft and config.lora_alpha > 0 and config.lora_r >= 1):
        return
    scale = config.lora_alpha / (config.lora_r**0.5 if config.use_rslora else config.lora_r)
    if scale < 0.25:
        yield Finding(
            f"--lora-alpha {plain_number(config.lora_alpha)} with --lora-r {config.lora_r} multiplies the adapter by {scale:g}",
            changes={"lora_alpha": 2 * config.lora_r},
            parameters=("lora_alpha", "lora_r"),
        )


@rule(
    "P312",
    WARNING,
    refuses="--trainer sft --block-size 128 --max-seq-length 512",
    accepts="--trainer sft --max-seq-length 512",
)
def one_length_should_be_given(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """Two different lengths were given, and only one can decide.

    Why: `--max-seq-length`, `--block-size` and `--model-max-length` all say how long a row may be. The first of them, in this order,
    that was given decides; the plan says which.
    Fix: keep one.
    """
    names = [
        name
        for name in ("max_seq_length", "block_size", "model_max_length")
        if config.given(name) and config.applies(name)
    ]
    values = {name: config.value_of(name) for name in names if config.value_of(name) not in (None, -1)}
    if len(set(values.values())) > 1:
        _, *rest = values
        flags = [f"--{name.replace('_', '-')} {values[name]}" for name in values]
        yield Finding(
            f"{' and '.join(flags)} name different lengths; {flags[0]} decides",
            changes=dict.fromkeys(rest),
            parameters=tuple(values),
        )


@rule(
    "P313",
    refuses="--trainer dpo --block-size 512 --max-prompt-length 512",
    accepts="--trainer dpo --block-size 1024 --max-prompt-length 512",
)
def a_prompt_must_leave_room_for_its_answer(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--max-prompt-length` fills the whole row.

    Why: a prompt that long leaves no token to learn from.
    Fix: a shorter prompt or a longer row.
    """
    if not config.applies("max_prompt_length") or not (
        config.given("block_size") and config.given("max_prompt_length")
    ):
        return
    block, prompt = config.block_size, config.max_prompt_length
    if 0 < block <= prompt:
        yield Finding(
            f"--max-prompt-length {prompt} fills the whole row of --block-size {block}, which leaves nothing to learn",
            changes={"max_prompt_length": max(2, block // 2)},
            parameters=("max_prompt_length", "block_size"),
        )


@rule("P314", refuses="--eval-strategy steps", accepts="--eval-strategy steps --valid-split 0.1")
def evaluation_needs_rows_to_evaluate_on(config: Config) -> Iterator[Finding]:
    """Something was asked for that needs evaluation rows, and none are named.

    Why: early stopping, the best checkpoint and every `eval_…` metric come from evaluation; without rows they would fail after
    the first epoch.
    Fix: name a split, hold out a share, or give a file.
    """
    if config.valid_split or config.eval_dataset_path:
        return
    asked = [
        flag
        for flag, wanted in (
            (f"--eval-strategy {config.eval_strategy}", config.eval_strategy in ("steps", "epoch")),
            ("--eval-steps", config.given("eval_steps")),
            ("--load-best-model-at-end", config.load_best_model_at_end),
            ("--early-stopping-patience", config.early_stopping_patience is not None),
            ("--use-enhanced-eval", needs_evaluation_rows(config)),
        )
        if wanted
    ]
    if asked:
        yield Finding(
            f"{', '.join(asked)} needs rows to evaluate on, and none are named",
            changes={"valid_split": 0.1},
            otherwise="or --eval-dataset-path FILE",
            parameters=tuple(flag.split()[0].removeprefix("--").replace("-", "_") for flag in asked),
        )


@rule(
    "P315",
    refuses="--valid-split 0.1 --load-best-model-at-end --save-strategy no",
    accepts="--valid-split 0.1 --load-best-model-at-end",
)
def the_best_checkpoint_must_have_been_saved(config: Config) -> Iterator[Finding]:
    """The best checkpoint is wanted, and evaluation and saving do not meet.

    Why: only a step that was both evaluated and saved can be the best one.
    Fix: save when evaluating.
    """
    if not (config.load_best_model_at_end or config.early_stopping_patience):
        return
    evaluating = asked_evaluation(config) or "epoch"
    saving = asked_saving(config) or evaluating
    if evaluating == "no":
        yield Finding(
            "the best checkpoint can't be told with --eval-strategy no",
            changes={"eval_strategy": "epoch"},
            parameters=("load_best_model_at_end", "eval_strategy"),
        )
    elif saving != evaluating:
        yield Finding(
            f"the best checkpoint can't be kept: --eval-strategy is {evaluating} and --save-strategy is {saving}",
            changes={"save_strategy": evaluating},
            parameters=("load_best_model_at_end", "save_strategy"),
        )
    elif evaluating == "steps" and config.given("save_steps") and config.given("eval_steps"):
        save, every = config.save_steps, config.eval_steps
        if save and every and save % every:
            yield Finding(
                f"--save-steps {save} is no multiple of --eval-steps {every}, so the best step is not always saved",
                changes={"save_steps": max(1, round(save / every)) * every},
                parameters=("save_steps", "eval_steps"),
            )


@rule(
    "P328",
    refuses="--trainer sft --valid-split 0.1 --load-best-model-at-end --metric-for-best-model eval_bleu",
    accepts="--trainer sft --valid-split 0.1 --load-best-model-at-end --metric-for-best-model eval_perplexity",
)
def the_best_checkpoint_is_best_at_something_that_is_measured(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--metric-for-best-model` names something that this run does not measure on evaluation rows.

    Why: no checkpoint could be told to be the best one, which would be found out at the first evaluation.
    Fix: one of the trainer's metrics, or of those that `--use-enhanced-eval` adds. With `--engine trl` it is the loss alone: TRL's trainers
    add what else they measure after the best checkpoint is chosen.
    """
    asked, known = config.metric_for_best_model, can_be_best_at(config)
    if not asked or not trainer.metrics or in_full(asked) in known:
        return
    engine = " with --engine trl" if config.engine == "trl" else ""
    yield Finding(
        f"--metric-for-best-model {asked} is not measured by {trainer.name}{engine}, which measures {', '.join(known)}",
        changes={"metric_for_best_model": None}
        if engine
        else so_that_it_is_reported(config, "metric_for_best_model", known),
        parameters=("metric_for_best_model",),
    )


@rule(
    "P329",
    WARNING,
    refuses="--valid-split 0.1 --metric-for-best-model eval_loss",
    accepts="--valid-split 0.1 --metric-for-best-model eval_loss --load-best-model-at-end",
)
def a_best_checkpoint_should_be_asked_for(config: Config) -> Iterator[Finding]:
    """`--metric-for-best-model` where no best checkpoint is chosen.

    Why: the run ends with its last weights, whatever was measured.
    Fix: finish with the best checkpoint, stop early, or drop the flag.
    """
    wanted = config.load_best_model_at_end or config.early_stopping_patience is not None
    if config.metric_for_best_model and not wanted:
        yield Finding(
            "--metric-for-best-model has no effect without --load-best-model-at-end or --early-stopping-patience",
            changes={"load_best_model_at_end": True},
            parameters=("metric_for_best_model",),
        )


@rule("P317", refuses="--quantization int4", accepts="--quantization int4 --peft")
def a_quantised_base_needs_an_adapter(config: Config) -> Iterator[Finding]:
    """`--quantization` without `--peft`.

    Why: weights in 4 or 8 bits are frozen; something has to be there that learns.
    Fix: add `--peft`, or train in full precision.
    """
    if config.quantization and not config.peft:
        yield Finding(
            f"--quantization {config.quantization} freezes the model, and without --peft nothing is left to train",
            changes={"peft": True},
            parameters=("quantization", "peft"),
        )


@rule("P318", refuses="--peft --target-modules lm_head", accepts="--peft --target-modules q_proj,v_proj")
def the_head_is_not_a_target_of_lora(config: Lora) -> Iterator[Finding]:
    """`lm_head` is among the target modules.

    Why: loss and head are computed together, so an adapter on the head would never be trained.
    Fix: leave it out.
    """
    if config.peft and "lm_head" in config.target_modules:
        rest = ",".join(name for name in config.target_modules if name != "lm_head") or "all-linear"
        yield Finding(
            "--target-modules names lm_head, whose adapter would never be trained",
            changes={"target_modules": rest},
            parameters=("target_modules",),
        )


@rule("P319", refuses="--log tensorbord", accepts="--log tensorboard")
def a_tracker_must_be_one_that_is_known(config: Config) -> Iterator[Finding]:
    """`--log` names something that is no tracker.

    Why: a log that goes nowhere is missed only after the run.
    Fix: tensorboard, wandb, trackio, or several separated by commas.
    """
    unknown = [name for name in config.log if name not in TRACKERS]
    if unknown:
        yield Finding(
            f"--log must be among {', '.join(TRACKERS)}, got {', '.join(unknown)}",
            changes={"log": [name for name in config.log if name in TRACKERS] or "tensorboard"},
            parameters=("log",),
        )


@rule("P320", refuses="--resume --overwrite", accepts="--resume")
def a_run_is_resumed_or_replaced(config: Config) -> Iterator[Finding]:
    """`--resume` and `--overwrite` together.

    Why: one goes on with the earlier run, the other puts it aside.
    Fix: keep one.
    """
    if config.overwrite and (config.resume or config.resume_from_checkpoint):
        yield Finding(
            "--resume goes on with an earlier run and --overwrite replaces it",
            changes={"overwrite": None},
            parameters=("resume", "overwrite"),
        )


@rule("P321", refuses="--resume", accepts="--resume --output-dir runs/mine")
def resuming_needs_the_run_to_resume(config: Config) -> Iterator[Finding]:
    """`--resume` without `--output-dir`.

    Why: without a folder a new one is made each time, and there is nothing in it to resume.
    Fix: name the folder of the run.
    """
    if config.resume and not config.output_dir:
        yield Finding(
            "--resume goes on in an output folder, and --output-dir names none",
            fix="--output-dir <folder of the run>",
            parameters=("resume", "output_dir"),
        )


@rule("P322", refuses="--model scratch:1m --peft", accepts="--model scratch:1m")
def a_new_model_has_nothing_to_adapt(config: Config) -> Iterator[Finding]:
    """`--peft` with a `scratch:` model.

    Why: LoRA leaves the base as it is, and the base of a new model is random numbers.
    Fix: train it whole.
    """
    if config.peft and str(config.model or "").startswith("scratch:"):
        yield Finding(
            f"--peft would leave {config.model} at its random start: a new model is trained whole",
            changes={"peft": None},
            parameters=("peft", "model"),
        )


@rule("P323", WARNING, refuses="--trainer generic --no-add-eos-token", accepts="--trainer generic --add-eos-token")
def documents_should_end(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--add-eos-token` is switched off where documents are joined.

    Why: without an end token between them, documents run into one another, and the model never learns to stop.
    Fix: leave it on.
    """
    if trainer.rows == "documents" and config.given("add_eos_token") and not config.add_eos_token:
        yield Finding(
            "with --add-eos-token off, documents are joined without an end token between them, and the model never learns to stop",
            changes={"add_eos_token": True},
            parameters=("add_eos_token",),
        )


@rule("P324", WARNING, refuses="--warmup-ratio 0.8", accepts="--warmup-ratio 0.1")
def warmup_should_leave_steps_to_train(config: Config) -> Iterator[Finding]:
    """The warm-up takes more than half of the run.

    Why: the learning rate reaches its peak only when the warm-up is over.
    Fix: a tenth is usual.
    """
    ratio = config.warmup_ratio
    if config.given("warmup_ratio") and 0.5 < ratio < 1:
        yield Finding(
            f"--warmup-ratio {ratio:g} keeps the learning rate below its peak for more than half of the run",
            changes={"warmup_ratio": 0.1},
            parameters=("warmup_ratio",),
        )


@rule("P325", refuses="--quantization int4 --peft --merge-adapter", accepts="--peft --merge-adapter")
def a_quantised_base_is_not_merged_into(config: Config) -> Iterator[Finding]:
    """`--merge-adapter` with `--quantization`.

    Why: adding an adapter into weights of 4 or 8 bits rounds most of it away.
    Fix: keep the adapter, or merge it into the full base afterwards.
    """
    if config.merge_adapter and config.quantization:
        yield Finding(
            "--merge-adapter into a base of --quantization would round the adapter away",
            changes={"merge_adapter": None},
            parameters=("merge_adapter", "quantization"),
        )


@rule(
    "P326",
    refuses="--use-flash-attention-2 --mixed-precision fp32",
    accepts="--use-flash-attention-2 --mixed-precision bf16",
)
def flash_attention_computes_in_half_precision(config: Precision) -> Iterator[Finding]:
    """FlashAttention together with fp32.

    Why: its kernels exist for fp16 and bf16 only.
    Fix: bf16.
    """
    if (config.attn_implementation or "").startswith("flash_attention") and config.mixed_precision == "fp32":
        yield Finding(
            f"--attn-implementation {config.attn_implementation} computes in fp16 or bf16 and --mixed-precision is fp32",
            changes={"mixed_precision": "bf16"},
            parameters=("attn_implementation", "mixed_precision"),
        )


@rule(
    "P327",
    WARNING,
    refuses="--trainer sft --eval-dataset-path ./data/train.jsonl --data-path ./data/train.jsonl",
    accepts="--trainer sft --valid-split 0.1",
)
def evaluation_rows_should_not_be_the_training_rows(config: Config) -> Iterator[Finding]:
    """`--eval-dataset-path` is the same file as `--data-path`.

    Why: a model that has seen a row scores well on it; the number says nothing about rows it hasn't seen.
    Fix: hold out a share of the rows.
    """
    data, held_out = config.data_path, config.eval_dataset_path
    if data and held_out and os.path.abspath(data) == os.path.abspath(held_out):  # noqa: PTH100 (takes any text)
        yield Finding(
            f"--eval-dataset-path and --data-path are the same: {data}",
            changes={"valid_split": 0.1, "eval_dataset_path": None},
            parameters=("eval_dataset_path", "data_path"),
        )


@rule(
    "P332",
    WARNING,
    refuses="--valid-split 0.1 --eval-dataset-path ./eval.jsonl",
    accepts="--eval-dataset-path ./eval.jsonl",
)
def rows_are_held_out_or_come_from_a_file(config: Config) -> Iterator[Finding]:
    """`--valid-split` holds out rows, and `--eval-dataset-path` names others.

    Why: evaluation has one set of rows. Those of the file count; none are held out.
    Fix: keep one. Where `--eval-dataset-path` names a folder, `--valid-split` may name one of its splits.
    """
    split, path = config.valid_split, config.eval_dataset_path
    if split and path and _is_number(split):
        yield Finding(
            f"--valid-split {split} has no effect beside --eval-dataset-path {path}, whose rows are evaluated",
            changes={"valid_split": None},
            parameters=("valid_split", "eval_dataset_path"),
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@rule(
    "P333",
    WARNING,
    refuses="--eval-strategy epoch --eval-steps 50 --valid-split 0.1",
    accepts="--eval-steps 50 --valid-split 0.1",
)
def a_number_counts_where_something_counts_by_it(config: Config) -> Iterator[Finding]:
    """A number that another parameter leaves without effect: steps where epochs are counted, a warm-up of a rate that is constant.

    Why: `--eval-steps` and `--save-steps` count where `--eval-strategy` and `--save-strategy` are steps, which they are by themselves
    if nothing else is said; `--scheduler constant` begins at the peak.
    Fix: one of the two.
    """
    for steps, strategy in (("eval_steps", "eval_strategy"), ("save_steps", "save_strategy")):
        said = config.value_of(strategy)
        if config.given(steps) and config.value_of(steps) and said in ("no", "epoch"):
            flag = strategy.replace("_", "-")
            yield Finding(
                f"--{steps.replace('_', '-')} {config.value_of(steps)} has no effect with --{flag} {said}",
                changes={strategy: "steps"},
                otherwise=f"or remove --{steps.replace('_', '-')}",
                parameters=(steps, strategy),
            )
    if config.given("warmup_ratio") and config.warmup_ratio > 0 and config.scheduler == "constant":
        yield Finding(
            f"--warmup-ratio {config.warmup_ratio:g} has no effect with --scheduler constant, which begins at the peak",
            changes={"scheduler": "constant_with_warmup"},
            otherwise="or remove --warmup-ratio",
            parameters=("warmup_ratio", "scheduler"),
        )


@rule("P336", WARNING, refuses="--username somebody", accepts="--username somebody --push-to-hub --token hf_1")
def an_account_is_for_uploading(config: Config) -> Iterator[Finding]:
    """`--username` or `--hub-private` is given, and nothing is said of `--push-to-hub`.

    Why: nothing is uploaded by itself; whoever names an account expects it to be.
    Fix: say so, or leave it out.
    """
    given = [name for name in ("username", "hub_private") if config.given(name)]
    if given and not config.given("push_to_hub"):
        yield Finding(
            f"{flag_of(given[0])} has no effect without --push-to-hub: nothing is uploaded",
            changes={"push_to_hub": True},
            otherwise=f"or remove {flag_of(given[0])}",
            parameters=(given[0], "push_to_hub"),
        )


@rule("P338", WARNING)
def a_token_is_one_of_the_hub(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--token` is no token of the Hugging Face Hub.

    Why: those begin with `hf_`. Another service's key is refused at the end of the run, and a variable in single quotes is not filled in
    by the shell. A Hub of one's own (`HF_ENDPOINT`) may give others. The token itself is never printed.
    Fix: the Hub's token, in double quotes where it comes from a variable.
    """
    token = config.token
    if not config.given("token") or not token or token.startswith(HUB_TOKENS) or machine.environment.get("HF_ENDPOINT"):
        return
    is_variable = A_VARIABLE.fullmatch(token) is not None
    yield Finding(
        "--token is no token of the Hub, whose tokens begin with hf_"
        + (": it is the name of a variable, which no shell fills in between single quotes" if is_variable else ""),
        fix='--token "$HF_TOKEN", or leave it out where HF_TOKEN is set',
        parameters=("token",),
    )


@rule(
    "P331",
    refuses="--trainer dpo --prompt-text-column chosen --text-column chosen --rejected-text-column rejected",
    accepts="--trainer dpo --prompt-text-column prompt --text-column chosen --rejected-text-column rejected",
)
def a_prompt_is_no_answer(config: Config) -> Iterator[Finding]:
    """`--prompt-text-column` names the column of an answer.

    Why: the answer would be asked for with itself.
    Fix: the column that holds the prompts.
    """
    prompt = config.prompt_text_column
    for name in ("text_column", "rejected_text_column"):
        if config.given("prompt_text_column") and prompt and config.value_of(name) == prompt and config.applies(name):
            flag = f"--{name.replace('_', '-')}"
            yield Finding(
                f"--prompt-text-column {prompt} and {flag} {prompt} name the same column",
                fix="--prompt-text-column <the column that holds the prompts>",
                parameters=("prompt_text_column", name),
            )
