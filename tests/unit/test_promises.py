"""What other tools' guides promise their users holds here: a row for each promise, with a command that fails without it.

A promise that is kept in another way, or not, has the reason, and its row checks what is answered. Nothing is trained here: what a training shows is
checked in the tests that rows name.
"""

from __future__ import annotations

import ast
import inspect
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import autotrain_llm
from autotrain_llm.cli.main import main
from support.light_models import build_light_model
from support.paths import PROJECT
from support.rows import questions, write_rows

RUN = "--epochs 1 --batch-size 2 --dry-run"
SFT = f"llm --trainer sft --model model --lr 1e-5 {RUN}"
TUNE = f"{SFT} --data-path rows.jsonl"
PAIRS = "--prompt-text-column prompt --rejected-text-column rejected"
PREFER = f"--model model --data-path pairs.jsonl {PAIRS} --lr 1e-6 {RUN}"
DPO = f"llm --trainer dpo {PREFER}"
SCORE = f"llm --trainer reward --model model --data-path pairs.jsonl --lr 1e-5 {RUN}"
ROLL = f"llm --trainer ppo --model model --rl-reward-model-path scorer --data-path rows.jsonl --lr 5e-6 {RUN}"
MIXED = "llm --model model --lr 1e-6 --data_config"


@dataclass(frozen=True)
class Answer:
    """What a command answered with `--format json`, and its exit status."""

    status: int
    document: dict[str, Any]

    @property
    def plan(self) -> dict[str, Any]:
        assert self.document["plan"] is not None, self.document["findings"]
        return self.document["plan"]

    def value(self, name: str) -> Any:
        return self.plan["parameters"][name]["value"]

    def finding(self, code: str) -> dict[str, Any]:
        found = {finding["code"]: finding for finding in self.document["findings"]}
        assert code in found, self.document["findings"]
        return found[code]


Check = Callable[[Answer], object]


@dataclass(frozen=True)
class Promise:
    """A promise, a command and what its answer shows. `instead` says why the promise is not kept as it stands."""

    text: str
    command: str
    check: Check
    instead: str | None = None


def plans(steps: int | None = None, **values: Any) -> Check:
    """The command is accepted, and its plan has these values."""

    def check(answer: Answer) -> None:
        assert answer.status == 0, answer.document["findings"]
        assert {name: answer.value(name) for name in values} == values
        assert steps is None or answer.plan["steps"] == steps

    return check


def finds(code: str, text: str = "", fix: str = "", status: int = 2) -> Check:
    """A finding whose message and fix have these words."""

    def check(answer: Answer) -> None:
        finding = answer.finding(code)
        assert answer.status == status, answer.document["findings"]
        assert text in finding["message"] and fix in (finding["fix"] or ""), finding

    return check


def both(first: Check, second: Check) -> Check:
    return lambda answer: (first(answer), second(answer))


def shows(is_so: Callable[[], bool]) -> Check:
    """What needs no command."""

    def check(_: Answer) -> None:
        assert is_so()

    return check


def no_finding(answer: Answer) -> None:
    """The command is accepted without a word."""
    assert (answer.status, answer.document["findings"]) == (0, [])


def covered_by(file: str, name: str) -> Check:
    """There is a test of this name."""

    def is_there() -> bool:
        tree = ast.parse((PROJECT / "tests" / file).read_text(encoding="utf-8"))
        return any(isinstance(node, ast.FunctionDef) and node.name == name for node in tree.body)

    return shows(is_there)


def written(path: str, *words: str) -> Check:
    """A file of the project has these words."""

    def has_words() -> bool:
        text = (PROJECT / path).read_text(encoding="utf-8")
        return all(word in text for word in words)

    return shows(has_words)


def prepared(*files: str) -> Check:
    """A folder with these files was written."""

    def check(answer: Answer) -> None:
        assert answer.status == 0, answer.document
        assert all(Path("prepared", file).exists() for file in files)

    return check


def tracked(answer: Answer) -> None:
    """The project of the trackers is the trainer's own; a tracker that is not installed is named with what installs it."""
    missing = [finding for finding in answer.document["findings"] if finding["code"] == "E505"]
    if missing:
        assert "pip install" in missing[0]["fix"]
    else:
        assert "autotrain-ppo" in json.dumps(answer.plan)


def is_in_the_table_of_batch_sizes() -> bool:
    guide = (PROJECT / "PARAMETER_GUIDE.md").read_text(encoding="utf-8")
    return all(row in guide for row in ("| under 7B | 8 to 16 |", "| 7B to 13B | 4 to 8 |"))


SELECTION = [
    Promise(
        "sft is the default trainer", f"llm --model model --data-path rows.jsonl --lr 1e-5 {RUN}", plans(trainer="sft")
    ),
    Promise(
        "dpo reads columns chosen and rejected",
        f"llm --trainer dpo --model model --data-path talks.jsonl --rejected-text-column rejected --lr 1e-6 {RUN}",
        plans(),
    ),
    Promise(
        "dpo reads columns chosen and rejected that are plain texts",
        f"llm --trainer dpo --model model --data-path answers.jsonl {PAIRS} --lr 1e-6 {RUN}",
        finds("D109", fix="add a column prompt"),
        instead="answers without a prompt can't be trained on as answers to it; the parameter guide requires the column",
    ),
    Promise("a config has trainer_type", f"llm --config trainer_type.yaml {RUN}", plans(trainer="dpo")),
    Promise(
        "a config of dpo inherits from a base config",
        f"llm --config inherits.yaml {RUN}",
        plans(trainer="dpo", lr=3e-6),
    ),
    Promise("--trainer_type dpo", f"llm --trainer_type dpo {PREFER}", plans(trainer="dpo")),
    Promise("--trainer-type dpo", f"llm --trainer-type dpo {PREFER}", plans(trainer="dpo")),
    Promise(
        "sft is the default below a config's trainer_type", f"llm --config no_trainer.yaml {RUN}", plans(trainer="sft")
    ),
    Promise(
        "the command line's trainer wins over a config's",
        f"llm --config trainer_type.yaml --trainer_type orpo {RUN}",
        plans(trainer="orpo"),
    ),
    Promise("a Python file of a dataclass is a config", f"llm --config config.py {RUN}", plans(trainer="dpo", lr=4e-6)),
    Promise(
        "a trainer is selected by its number",
        "",
        covered_by("unit/cli/test_questions.py", "test_a_choice_takes_the_number_the_name_or_a_flag"),
    ),
    Promise(
        "a script asks for what is needed and starts",
        "llm --interactive",
        both(
            lambda answer: answer.status == 2,
            covered_by("unit/cli/test_questions.py", "test_the_questions_are_answered_in_a_terminal_of_80_columns"),
        ),
        instead="it is a flag of the one command, and not a script of its own",
    ),
    Promise("runs are tracked with Trackio", f"{ROLL} --log trackio", tracked),
    Promise(
        "trainer classes can be imported",
        "",
        shows(lambda: all(callable(getattr(autotrain_llm, name)) for name in ("check", "plan", "train"))),
        instead="functions take the flags; which class trains is no part of the interface",
    ),
    Promise(
        "dpo on rows without rejected answers is an error about the format",
        f"llm --trainer dpo --model model --data-path rows.jsonl {PAIRS} --lr 1e-6 {RUN}",
        finds("D109", "has no column rejected", fix="add a column with the worse answer"),
    ),
    Promise(
        "a log line says: Using trainer type: dpo",
        "",
        covered_by("unit/cli/test_main.py", "test_verbose_names_the_trainer_before_it_is_loaded"),
    ),
    Promise(
        "a log line says: Initializing DPO trainer...",
        "",
        written("tests/unit/cli/test_main.py", "Initializing SFT trainer..."),
    ),
]

TRAINING_TYPES = [
    Promise("training_type", f"llm --training_type dpo {PREFER}", plans(trainer="dpo")),
    Promise("training_type in a config", f"llm --config dpo_args.yaml {RUN}", plans(trainer="dpo", lr=5e-6)),
    Promise(
        "training_type is sft without a word",
        f"llm --model model --data-path chat.jsonl --lr 1e-5 {RUN}",
        plans(trainer="sft"),
    ),
    Promise("data_cache_path names the rows", f"{SFT} --data_cache_path rows.jsonl", plans(data_path="rows.jsonl")),
    Promise(
        "dpo_args has beta, max_length and max_prompt_length",
        f"llm --config dpo_args.yaml {RUN}",
        plans(dpo_beta=0.3, block_size=256, max_prompt_length=128),
    ),
    Promise(
        "a Python class has the config",
        "",
        shows(lambda: inspect.signature(autotrain_llm.train).parameters["flags"].kind is inspect.Parameter.VAR_KEYWORD),
        instead="the flags are keyword arguments of train, and a config can be a Python file",
    ),
    Promise("sft trains on input_ids and labels", f"{SFT} --data-path ids.jsonl", plans(data_path="ids.jsonl")),
    Promise(
        "a usual learning rate of sft with LoRA is 2e-4",
        f"llm --trainer sft --model model --data-path rows.jsonl --peft --lr 2e-4 {RUN}",
        no_finding,
    ),
    Promise(
        "a usual learning rate of dpo with LoRA is 5e-6",
        f"llm --trainer dpo --model model --data-path pairs.jsonl {PAIRS} --peft --lr 5e-6 {RUN}",
        no_finding,
    ),
    Promise("batches of sft have 8 rows or more", f"{TUNE} --batch-size 8", plans(batch_size=8)),
    Promise("batches of dpo have 2 to 4 pairs", "llm --trainer dpo --dry-run", finds("P201", fix="--batch-size 2")),
    Promise("sft packs sequences", f"{TUNE} --packing", plans(packing=True)),
    Promise(
        "sequences are packed without a flag",
        TUNE,
        plans(packing=False),
        instead="rows are concatenated without padding anyway; packing changes what a batch is, and so is asked for",
    ),
    Promise("dpo does not pack", f"{DPO} --packing", finds("P101", "packing", status=0)),
    Promise("sft trains with a rank of 8 to 16", f"{TUNE} --peft", plans(lora_r=16)),
    Promise(
        "dpo trains with a rank of 32 to 64",
        f"{DPO} --peft --lora-r 64",
        plans(lora_r=64),
        instead="the parameter guide's default is 16 for every trainer",
    ),
    Promise(
        "an example compares sft and dpo",
        "",
        written("examples/sft_vs_dpo/README.md", "learning rate", "batch size", "rank of an adapter"),
    ),
    Promise(
        "a command prepares pairs in an output_dir",
        "prepare --trainer dpo --data-path pairs.jsonl --output_dir prepared",
        prepared("dataset_info.json"),
    ),
    Promise(
        "it converts preferences.json",
        "prepare --trainer dpo --data-path preferences.json --output-dir prepared",
        prepared("dataset_info.json", "train.jsonl"),
    ),
    Promise(
        "a public function makes a trainer of model, tokenizer and rows",
        "",
        shows(lambda: callable(autotrain_llm.train) and not hasattr(autotrain_llm, "create_trainer_by_type")),
        instead="a run is made from its flags, so that it is checked first and can be repeated",
    ),
    Promise(
        "a type of training is added by registering it",
        "",
        covered_by("unit/config/test_plugins.py", "test_the_example_package_adds_a_trainer"),
    ),
    Promise("there are links for support", "", written("PARAMETER_GUIDE.md", "## Support", "](docs/)", "](https://")),
]

MIXTURES = [
    Promise("sft has --data_config", f"{MIXED} texts.yaml --trainer sft {RUN}", plans(data_config="texts.yaml")),
    Promise("dpo has --data_config", f"{MIXED} mix.yaml --trainer dpo {RUN}", plans(data_config="mix.yaml")),
    Promise(
        "ppo has --data_config",
        f"{MIXED} texts.yaml --trainer ppo --rl-reward-model-path scorer {RUN}",
        plans(data_config="texts.yaml"),
    ),
    Promise(
        "a mixture is validated",
        f"{MIXED} bad.yaml --trainer dpo {RUN}",
        lambda answer: answer.status == 2 and answer.document["findings"][0]["file"] == "bad.yaml",
    ),
    Promise(
        "each data set has a weight",
        f"{MIXED} mix.yaml --trainer dpo {RUN}",
        lambda answer: [source["rows_of_epoch"] for source in answer.plan["data"]["sources"]] == [24, 8],
    ),
    Promise(
        "train and validation rows are written as JSON Lines from a mixture",
        "prepare --trainer dpo --data-config mix.yaml --valid-split 0.2 --output-dir prepared",
        prepared("train.jsonl", "validation.jsonl", "dataset_info.json"),
    ),
    Promise("--use_prepared insists on prepared rows", f"{DPO} --use_prepared", finds("P145", fix="autotrain prepare")),
    Promise("--eval_interval N", f"{TUNE} --valid-split 0.2 --eval_interval 5", plans(eval_steps=5)),
    Promise(
        "without --eval_interval, 500 steps are between evaluations",
        f"{TUNE} --valid-split 0.2",
        plans(eval_steps=None),
        instead="a tenth of the run or each epoch: 500 steps are more than many runs have",
    ),
    Promise("--eval_batches N", f"{TUNE} --valid-split 0.2 --eval_batches 2", plans(eval_batches=2)),
    Promise(
        "without --eval_batches, 50 to 100 batches are evaluated",
        f"{TUNE} --valid-split 0.2",
        plans(eval_batches=None),
        instead="all rows are evaluated unless a number is given",
    ),
    Promise(
        "metrics of evaluations reach W&B",
        "",
        covered_by(
            "unit/run/session/test_trackers.py", "test_wandb_offline_holds_the_numbers_and_is_said_to_be_offline"
        ),
    ),
    Promise("--use_wandb", f"{TUNE} --use_wandb", lambda answer: "wandb" in str(answer.document)),
    Promise("--wandb_project NAME", f"{TUNE} --log tensorboard --wandb_project mine", plans(tracker_project="mine")),
    Promise("a project of trackers for each method", f"{ROLL} --log tensorboard", tracked),
    Promise(
        "--from_weight",
        f"llm --trainer sft --from_weight model --data-path rows.jsonl --lr 1e-5 {RUN}",
        plans(model="model"),
    ),
    Promise(
        "--learning_rate",
        f"llm --trainer sft --model model --data-path rows.jsonl --learning_rate 5e-7 {RUN}",
        plans(lr=5e-7),
    ),
    Promise("--beta of dpo", f"{DPO} --beta 0.2", plans(dpo_beta=0.2)),
    Promise(
        "--device cuda:0",
        f"{TUNE} --device cuda:0",
        finds("P104", "CUDA_VISIBLE_DEVICES"),
        instead="devices are chosen by the environment, as with torchrun",
    ),
    Promise(
        "a command prepares a mixture",
        "prepare --data-config texts.yaml --output_dir prepared",
        prepared("dataset_info.json"),
    ),
    Promise("spo", "llm --trainer spo --dry-run", finds("P201", "spo needs")),
    Promise(
        "distill_reason",
        "llm --trainer distill_reason",
        finds("P303", fix="--trainer sft --token-weights"),
        instead="it is sft with weights of tokens",
    ),
    Promise(
        "other architectures than Llama, trained from new weights",
        f"llm --trainer sft --model scratch:1m --data-path rows.jsonl --lr 1e-3 {RUN}",
        plans(model="scratch:1m"),
        instead="new models are Llamas; every architecture of transformers can be trained further",
    ),
    Promise("experiments are tracked", f"{TUNE} --log tensorboard", plans(log=["tensorboard"])),
]

TICTACTOE = [
    Promise(
        "--model_name",
        f"llm --trainer sft --model_name model --data-path rows.jsonl --lr 1e-5 {RUN}",
        plans(model="model"),
    ),
    Promise("--data_files", f"{SFT} --data_files rows.jsonl", plans(data_path="rows.jsonl")),
    Promise(
        "model, data and output folder are enough",
        "llm --model_name model --data_files rows.jsonl --output_dir out --dry-run",
        finds("P201", "--lr", fix="--lr 2e-05 --epochs 3 --batch-size 8"),
        instead="the parameter guide requires learning rate, epochs and batch size; the finding has them to type",
    ),
    Promise(
        "--path CHECKPOINT",
        f"llm --trainer dpo --path model --data-path pairs.jsonl {PAIRS} --lr 1e-6 {RUN}",
        plans(model="model"),
    ),
    Promise(
        "RUN/checkpoint-942 names a checkpoint",
        "",
        covered_by(
            "unit/models/test_locate.py", "test_a_checkpoint_is_named_beside_the_run_or_in_its_folder_of_checkpoints"
        ),
    ),
    Promise(
        "a language model writes thoughts", "", written("examples/tictactoe/generate.py", "--thought-model", "LLM")
    ),
    Promise(
        "thoughts are by a rule or by a model", "", written("examples/tictactoe/generate.py", "--thoughts", "TEMPLATE")
    ),
    Promise(
        "each method of thoughts has files of its own",
        "",
        written("examples/tictactoe/generate.py", "tictactoe_sft_", "tictactoe_dpo_"),
    ),
    Promise(
        "Python 3.8 is enough",
        "",
        written("setup.cfg", "python_requires = >=3.11"),
        instead="the libraries that train need Python 3.11",
    ),
    Promise(
        "the base model is Qwen/Qwen2.5-0.5B",
        "",
        written("examples/tictactoe/README.md", "--model Qwen/Qwen2.5-0.5B"),
        instead="without a network, scratch:1m is trained",
    ),
]

GUIDE = [
    *(
        Promise(
            f"{name}: --mixed-precision fp16",
            f"llm --trainer {name} {flags} --mixed-precision fp16",
            finds("E501", "needs a CUDA GPU", fix="--mixed-precision "),  # bf16 where the processor computes in it
            instead="a processor does not compute in fp16",
        )
        for name, flags in {
            "generic": f"--model model --data-path texts.jsonl --lr 1e-5 {RUN}",
            "sft": f"--model model --data-path rows.jsonl --lr 1e-5 {RUN}",
            "dpo": PREFER,
            "orpo": PREFER,
            "reward": PREFER,
            "ppo": ROLL.partition("ppo ")[2],
        }.items()
    ),
    Promise(
        "orpo: --model-ref",
        f"llm --trainer orpo {PREFER} --model-ref model",
        finds("P107", "has no reference model", status=0),
        instead="ORPO's loss has no reference model",
    ),
    Promise(
        "reward: --rejected-text-column is required",
        SCORE,
        plans(rejected_text_column="rejected"),
        instead="the guide's own example leaves it out: the column rejected is its default",
    ),
    Promise(
        "reward: --num-labels",
        f"llm --trainer reward --model model --data-path graded.jsonl --num-labels 2 --lr 1e-5 {RUN}",
        plans(num_labels=2),
    ),
    Promise(
        "reward: distillation is ignored with a warning",
        f"{SCORE} --use-distillation --teacher-model model",
        finds("P112", "Distillation is not supported with Reward trainer"),
        instead="the guide's section on validation has an error",
    ),
    Promise(
        "ppo: --gradient-accumulation N",
        f"{ROLL} --gradient-accumulation 1",
        both(finds("P810", "steps of 2 completions", status=0), plans(gradient_accumulation=1)),
    ),
    Promise(
        "ppo: a default of --gradient-accumulation is what it does", ROLL, plans(gradient_accumulation=None, steps=4)
    ),
    Promise(
        "ppo: --rl-mini-batch-size",
        f"{ROLL} --rl-mini-batch-size 8 --rl-chunk-size 8",
        plans(rl_mini_batch_size=8, steps=12),
    ),
    Promise("ppo: --batch-size", f"{ROLL} --batch-size 64", finds("P811", "lowered to 32", status=0)),
    Promise(
        "ppo: distillation is ignored with a warning",
        f"{ROLL} --use-distillation",
        finds("P112", "Distillation is not supported with PPO trainer"),
        instead="the guide's section on validation has an error",
    ),
    Promise(
        "sft with LoRA and evaluation by BLEU, ROUGE and BERTScore",
        f"{TUNE} --peft --valid-split 0.2 --use-enhanced-eval --eval-metrics bleu,rouge,bertscore --eval-bertscore-model model",
        plans(peft=True, eval_metrics=["bleu", "rouge", "bertscore"]),
    ),
    Promise(
        "a reward model is an AutoModelForSequenceClassification",
        "",
        covered_by("integration/test_reward_command.py", "test_inference_prints_the_scores_that_the_library_gives"),
        instead="so is a whole model; transformers asks for num_labels=1 where it is an adapter, or --merge-adapter",
    ),
    Promise(
        "sweeps by wandb",
        f"{TUNE} --valid-split 0.2 --use-sweep --sweep-backend wandb",
        finds("P611", fix="wandb"),
        instead="the service needs a login",
    ),
    Promise(
        "ppo: sweeps by eval_loss",
        f"{ROLL} --valid-split 0.2 --use-sweep --sweep-metric eval_loss --sweep-direction minimize",
        finds("P605", fix="--sweep-metric eval_reward --sweep-direction maximize"),
        instead="the loss of a policy says nothing of its answers",
    ),
    Promise(
        "reward: perplexity, BLEU and ROUGE",
        f"{SCORE} --valid-split 0.2 --use-enhanced-eval --eval-metrics perplexity,bleu,rouge",
        finds("P702", fix="--eval-metrics accuracy,calibration,margin"),
        instead="a reward model writes nothing",
    ),
    Promise(
        "ppo: BLEU and ROUGE",
        f"{ROLL} --valid-split 0.2 --use-enhanced-eval --eval-metrics bleu,rouge",
        plans(eval_metrics=["bleu", "rouge"]),
    ),
    Promise(
        "ppo: perplexity",
        f"{ROLL} --valid-split 0.2 --use-enhanced-eval --eval-metrics perplexity",
        finds("P702", "trains on prompts"),
        instead="rows of prompts have no answers to measure it on",
    ),
    Promise(
        "ppo: --eval-save-predictions",
        f"{ROLL} --valid-split 0.2 --use-enhanced-eval --eval-save-predictions",
        plans(eval_save_predictions=True),
    ),
    Promise(
        "--eval-benchmark NAME",
        "",
        covered_by("integration/test_evaluation_runs.py", "test_a_benchmark_is_run_on_the_finished_model"),
    ),
    Promise(
        "a teacher gpt-4",
        f"{TUNE} --use-distillation --teacher-model gpt-4",
        finds("P502", "behind a service"),
        instead="a teacher's probabilities need its weights",
    ),
    Promise(
        "one starts with model, data, learning rate and epochs",
        "llm --trainer sft --model model --data-path rows.jsonl --lr 1e-5 --epochs 1 --dry-run",
        finds("P201", "--batch-size", fix="--batch-size"),
        instead="the guide lists the batch size as required, too",
    ),
    Promise(
        "then LoRA, evaluation and distillation are added",
        f"{TUNE} --peft --lora-r 32 --use-enhanced-eval --use-distillation",
        both(finds("P314", fix="--valid-split"), finds("P501", fix="--teacher-model")),
        instead="they need evaluation rows and a teacher, and the findings say which flags give them",
    ),
    Promise("batch sizes by size of model", "", shows(is_in_the_table_of_batch_sizes)),
    Promise(
        "PARAMETER_GUIDE.md has the matrix of compatibility", "", written("PARAMETER_GUIDE.md", "## Compatibility")
    ),
    Promise(
        "a validation loss that rises is explained",
        "",
        covered_by(
            "unit/checks/test_observations.py", "test_a_loss_that_rises_to_the_end_names_its_best_step_and_what_to_type"
        ),
    ),
    Promise(
        "the guide has a section on support",
        "",
        written("PARAMETER_GUIDE.md", "## Support", "Issues:", "Documentation:"),
    ),
    Promise("TRL trains", f"{TUNE} --engine trl", plans(engine="trl")),
    Promise(
        "the library datasets reads",
        "",
        written("src/autotrain_llm/data/files/hub.py", "datasets"),
        instead="for data sets of the Hub; local files are read without it",
    ),
    Promise(
        "the library evaluate measures",
        "",
        covered_by(
            "unit/run/evaluation/test_library_metrics.py",
            "test_a_score_of_the_library_is_computed_over_all_pairs_and_leaves_stdout_alone",
        ),
    ),
]

TABLE = [*SELECTION, *TRAINING_TYPES, *MIXTURES, *TICTACTOE, *GUIDE]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a reward model, and rows and configs of every kind."""
    folder = tmp_path_factory.mktemp("promises")
    build_light_model(folder / "model")
    scorer = {
        "architectures": ["LlamaForSequenceClassification"],
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
    }
    build_light_model(folder / "scorer", **scorer)
    pairs = [
        {"prompt": f"What is {n} + 1?", "chosen": f"It is {n + 1}.", "rejected": f"It is {n}, I think."}
        for n in range(24)
    ]
    more = [{**pair, "prompt": f"Quick: {pair['prompt']}"} for pair in pairs]
    rows = [{"prompt": pair["prompt"], "completion": pair["chosen"]} for pair in pairs]
    for name, content in {"pairs": pairs, "more": more, "rows": rows, "chat": questions(24)}.items():
        write_rows(folder / f"{name}.jsonl", content)
    write_rows(folder / "other_rows.jsonl", [{**row, "prompt": f"Quick: {row['prompt']}"} for row in rows])
    write_rows(folder / "answers.jsonl", [{"chosen": pair["chosen"], "rejected": pair["rejected"]} for pair in pairs])
    write_rows(folder / "texts.jsonl", [{"text": f"{row['prompt']} {row['completion']}"} for row in rows])
    write_rows(
        folder / "talks.jsonl",
        [{side: talk(pair["prompt"], pair[side]) for side in ("chosen", "rejected")} for pair in pairs],
    )
    write_rows(
        folder / "ids.jsonl", [{"input_ids": [5, 6, 7, 20 + n], "labels": [-100, -100, 7, 20 + n]} for n in range(24)]
    )
    write_rows(
        folder / "graded.jsonl",
        [
            {"prompt": row["prompt"], "answer": row["completion"], "scores": [n / 24, 1 - n / 24]}
            for n, row in enumerate(rows)
        ],
    )
    (folder / "preferences.json").write_text(json.dumps(pairs))
    (folder / "mix.yaml").write_text(
        "sources:\n- {name: a, path: pairs.jsonl, weight: 0.75}\n- {name: b, path: more.jsonl, weight: 0.25}\n"
    )
    (folder / "texts.yaml").write_text(
        "sources:\n- {path: rows.jsonl, weight: 0.5}\n- {path: other_rows.jsonl, weight: 0.5}\n"
    )
    (folder / "bad.yaml").write_text("sources:\n- {name: a, path: pairs.jsonl, wieght: 0.75}\n")
    base = "model: model\ndata_path: pairs.jsonl\nprompt_text_column: prompt\nrejected_text_column: rejected\n"
    (folder / "trainer_type.yaml").write_text(f"trainer_type: dpo\nlr: 1e-6\n{base}")
    (folder / "no_trainer.yaml").write_text("model: model\ndata_path: rows.jsonl\nlr: 1e-5\n")
    (folder / "base.yaml").write_text(f"lr: 1e-6\n{base}")
    (folder / "inherits.yaml").write_text("extends: base.yaml\ntrainer_type: dpo\nlr: 3e-6\n")
    (folder / "dpo_args.yaml").write_text(
        f"training_type: dpo\nlr: 5e-6\n{base}dpo_args: {{beta: 0.3, max_length: 256, max_prompt_length: 128}}\n"
    )
    (folder / "config.py").write_text(PYTHON_CONFIG)
    return folder


PYTHON_CONFIG = """from dataclasses import dataclass


@dataclass
class SmolLM3DPOConfig:
    trainer_type: str = "dpo"
    model_name: str = "model"
    data_files: str = "pairs.jsonl"
    prompt_text_column: str = "prompt"
    rejected_text_column: str = "rejected"
    learning_rate: float = 4e-6
"""


def talk(prompt: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


@pytest.mark.parametrize("promise", TABLE, ids=lambda promise: promise.text)
def test_a_promise_is_kept_or_answered(promise: Promise, files: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    for file in files.iterdir():
        (tmp_path / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    answer = Answer(0, {})
    if promise.command:
        status = main([*shlex.split(promise.command), "--format", "json"])
        answer = Answer(status, json.loads(capsys.readouterr().out))
    assert promise.check(answer) is not False


def test_promises_are_told_apart_and_reasons_are_given() -> None:
    texts = [promise.text for promise in TABLE]
    assert len(texts) == len(set(texts)) >= 98
