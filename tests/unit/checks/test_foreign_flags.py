"""What is answered to a command that is wrong: one finding for one fault, nothing that isn't known, and a fix that works when it is typed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.cli.main import main
from autotrain_llm.cli.parser import read
from autotrain_llm.config.aliases import ALIASES, BY_TRAINER, NO_COUNTERPART, RENAMED
from autotrain_llm.config.file import read_config
from autotrain_llm.config.foreign_names import unknown
from autotrain_llm.config.registry import ANSWERING, PARAMS
from autotrain_llm.declare.finding import in_words
from support.rows import write_rows

PAIRS = [
    {"prompt": f"Is {n} even?", "chosen": f"It is {('even', 'odd')[n % 2]}.", "rejected": f"No idea, {n}."}
    for n in range(12)
]
SFT = "--trainer sft --model scratch:1m --data-path rows.jsonl --lr 1e-3 --epochs 1 --batch-size 2"
DPO = "--trainer dpo --model scratch:1m --data-path pairs.jsonl --lr 1e-3 --epochs 1 --batch-size 2"
GRPO = "--trainer grpo --model scratch:1m --data-path prompts.jsonl --lr 1e-3 --epochs 1 --batch-size 8"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A folder with rows for each kind of trainer."""
    monkeypatch.chdir(tmp_path)
    for name in ("HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    write_rows(tmp_path / "rows.jsonl", [{"text": f"Row {n} tells of {n * n}."} for n in range(8)])
    write_rows(tmp_path / "held_out.jsonl", [{"text": f"Held out {n}."} for n in range(2)])
    write_rows(tmp_path / "pairs.jsonl", PAIRS)
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"Say {n}."} for n in range(8)])
    return tmp_path


def found(command: str, capsys) -> list[dict[str, Any]]:
    assert main(["llm", *shlex.split(command), "--dry-run", "--format", "json"]) in (0, 2)
    return json.loads(capsys.readouterr().out)["findings"]


def codes(findings: list[dict[str, Any]]) -> list[str]:
    return [finding["code"] for finding in findings]


# ---- what isn't known is not spoken of


def test_nothing_is_said_of_what_a_trainer_reads_that_is_not_known(capsys):
    named = "--prompt-text-column prompt --text-column chosen --rejected-text-column rejected --dpo-beta 0.1"
    findings = found(f"{DPO.replace('trainer dpo', 'trainer simpo')} {named}", capsys)
    assert codes(findings) == ["P303"] and findings[0]["fix"] == "--trainer dpo"
    assert codes(found(f"{DPO.replace('trainer dpo', 'stage orca')} {named}", capsys)) == ["P102"]
    findings = found("--trainer simpo --lr 5e-7 --epochs 1", capsys)
    assert codes(findings) == ["P303", "P201"]
    assert (
        findings[1]["message"]
        == "every trainer needs --model, --data-path or --data-config, --batch-size, and none was given"
    )


@pytest.mark.parametrize(
    "text", [None, "", "# nothing\n", "trainer: sft\n model: x\n", "trainer: sft\n\tmodel: x\n", "lr: 1\nlr: 2\n"]
)
def test_nothing_is_missed_beside_a_config_that_can_not_be_read(text, here, capsys):
    if text is not None:
        (here / "run.yaml").write_text(text)
    assert codes(found("--config run.yaml", capsys)) == ["P106"]
    beside = "--lora-r 8 --dpo-beta 0.1 --early-stopping-patience 2 --batch-size 0"
    assert codes(found(f"--config run.yaml {beside}", capsys)) == ["P106", "P301"]
    assert codes(found("--config run.yaml --inference", capsys)) == ["P106"]


def test_a_config_that_can_be_read_is_missed_something_in(here, capsys):
    (here / "run.yaml").write_text("trainer: sft\nbatch-size: 4\nbatch_size: 4\n")
    assert "P201" in codes(found("--config run.yaml", capsys))


# ---- what was said under another name counts as said


def test_an_adapter_that_another_tool_calls_so_is_not_missed_besides(here, llama, capsys):
    (here / "run.yaml").write_text("adapter: lora\nlora_r: 8\n")
    command = SFT.replace("1e-3", "2e-4").replace("scratch:1m", str(llama))
    assert codes(found(f"{command} --config run.yaml", capsys)) == ["P102"]
    assert codes(found(f"{SFT} --use-lora --lora-r 8", capsys)) == ["P102", "P322"]  # a new model has nothing to adapt


def test_a_switch_that_is_misspelt_is_not_missed_besides(capsys):
    command = SFT.replace("scratch:1m", "nowhere").replace("1e-3", "2e-4")
    assert [code for code in codes(found(f"{command} --pefft --lora-r 8", capsys)) if code[0] == "P"] == ["P104"]


def test_what_is_near_a_flag_that_does_nothing_is_to_be_left_out():
    (finding,) = read(["--unslot"]).findings
    assert finding.fix == "remove --unslot"
    (finding,) = read(["--use-flash-attention2"]).findings
    assert finding.fix == "--use-flash-attention-2"


def test_a_trainer_that_another_tool_calls_so_is_the_trainer(capsys):
    command = DPO.replace("--trainer dpo", "--stage dpo") + " --rejected-text-column rejected --dpo-beta 0.2"
    findings = found(command, capsys)
    assert codes(findings) == ["P102", "P201"] and findings[1]["message"].startswith("dpo needs --prompt-text-column")


def test_a_number_beyond_its_bounds_is_one_finding(capsys):
    assert codes(found(f"{SFT} --warmup-ratio 100", capsys)) == ["P301"]
    assert codes(found(f"{SFT} --weight-decay 10", capsys)) == ["P337"]


# ---- a fix that works


def test_a_metric_is_put_in_place_with_its_direction(capsys):
    sweep = f"{SFT} --use-sweep --sweep-n-trials 2 --valid-split 2 --sweep-direction minimize"
    (finding,) = found(f"{sweep} --sweep-metric eval_accuracy", capsys)
    assert (finding["code"], finding["fix"]) == (
        "P605",
        "--sweep-metric eval_token_accuracy --sweep-direction maximize",
    )
    (finding,) = found(f"{sweep} --sweep-metric eval_bleu", capsys)
    assert finding["changes"]["sweep_direction"] == "maximize"
    (finding,) = found(f"{sweep.removesuffix(' --sweep-direction minimize')} --sweep-metric eval_accuracy", capsys)
    assert finding["fix"] == "--sweep-metric eval_token_accuracy"


def test_rows_that_are_too_few_for_a_sweep_are_one_finding(here, capsys):
    write_rows(here / "rows.jsonl", [{"text": f"Row {n % 4} tells of nothing."} for n in range(8)])
    (finding,) = [one for one in found(f"{SFT} --use-sweep --sweep-n-trials 2", capsys) if one["severity"] == "error"]
    assert finding["code"] == "D129"


def test_a_sweep_holds_rows_out_where_there_are_enough(capsys):
    assert codes(found(f"{SFT} --use-sweep --sweep-n-trials 2", capsys)) == []


def test_a_column_that_a_function_wants_is_to_be_added_to_the_rows(here, capsys):
    (here / "score.py").write_text(
        "def score(prompts, completions, answer): return [float(len(text)) for text in completions]\n"
    )
    (finding,) = found(f"{GRPO} --rl-reward-fn score.py:score", capsys)
    assert finding["code"] == "P731" and "add a column answer to the rows of prompts.jsonl" in finding["fix"]
    write_rows(here / "prompts.jsonl", [{"prompt": f"Say {n}.", "answer": str(n)} for n in range(8)])
    assert found(f"{GRPO} --rl-reward-fn score.py:score", capsys) == []


def test_a_column_that_a_function_calls_otherwise_is_named(here, capsys):
    (here / "score.py").write_text(
        "def score(prompts, completions, answer): return [float(len(text)) for text in completions]\n"
    )
    write_rows(here / "prompts.jsonl", [{"prompt": f"Say {n}.", "answers": str(n)} for n in range(8)])
    (finding,) = found(f"{GRPO} --rl-reward-fn score.py:score", capsys)
    assert finding["fix"].startswith("call answer answers in the function, as it is called in the rows, or add")


def test_a_loss_that_is_a_trainer_here_is_answered_with_the_trainer(capsys):
    columns = "--prompt-text-column prompt --rejected-text-column rejected"
    (finding,) = found(f"{DPO} {columns} --dpo-loss kto_pair", capsys)
    assert (finding["code"], finding["fix"]) == ("P303", "--trainer kto and remove --dpo-loss")
    assert codes(found(f"{DPO.replace('dpo', 'kto')} {columns}", capsys)) == []


def test_a_metric_is_blamed_for_the_encoder_that_nobody_named(monkeypatch, capsys):
    from autotrain_llm.context.machine import Machine

    monkeypatch.setattr(Machine, "has_package", lambda self, name: True)
    asked = f"{SFT} --valid-split 2 --use-enhanced-eval --eval-metrics bertscore --offline"
    (finding,) = [one for one in found(asked, capsys) if one["severity"] == "error"]
    assert finding["message"].startswith("--eval-metrics bertscore: --eval-bertscore-model")
    assert finding["parameters"] == ["eval_metrics", "eval_bertscore_model"]
    (finding,) = [one for one in found(f"{asked} --eval-bertscore-model me/none", capsys) if one["severity"] == "error"]
    assert finding["message"].startswith("--eval-bertscore-model me/none")


# ---- a prompt that both answers begin with

SHARED = [{"role": "user", "content": "Which is it?"}]


def turns(answer: str) -> list[dict[str, str]]:
    return [*SHARED, {"role": "assistant", "content": answer}]


def test_no_prompt_column_is_missed_where_both_conversations_begin_with_the_prompt(here, llama, capsys):
    rows = [{"chosen": turns(f"The {n}th."), "rejected": turns(f"No idea, {n}.")} for n in range(8)]
    write_rows(here / "pairs.jsonl", rows)
    named = "--text-column chosen --rejected-text-column rejected"
    command = f"{DPO.replace('scratch:1m', str(llama)).replace('1e-3', '5e-7')} {named}"
    assert found(command, capsys) == []
    findings = found(command.replace("--batch-size 2", ""), capsys)
    assert [finding["message"] for finding in findings] == ["dpo needs --batch-size, and it was not given"]


def test_no_prompt_column_is_missed_where_two_texts_begin_with_the_prompt_and_say_so(here, capsys):
    start = "\n\nHuman: What is it?\n\nAssistant:"
    rows = [{"chosen": f"{start} It is {n}.", "rejected": f"{start} It may be {n}."} for n in range(8)]
    write_rows(here / "pairs.jsonl", rows)
    assert "P201" not in codes(found(f"{DPO} --rejected-text-column rejected", capsys))


def test_a_prompt_that_is_nowhere_is_to_be_added_and_one_that_is_there_to_be_named(here, capsys):
    rows = [{"chosen": f"It is {n}.", "rejected": f"It is not {n}."} for n in range(8)]
    write_rows(here / "pairs.jsonl", rows)
    (finding,) = found(f"{DPO} --rejected-text-column rejected", capsys)
    assert finding["code"] == "P201" and finding["fix"].startswith("add a column prompt to the rows")
    (finding,) = found(DPO, capsys)
    assert finding["fix"].startswith("--rejected-text-column rejected, and add a column prompt to the rows")
    write_rows(here / "pairs.jsonl", [{"asked": f"What is {n}?", **row} for n, row in enumerate(rows)])
    (finding,) = found(f"{DPO} --rejected-text-column rejected", capsys)
    first, _, _ = finding["fix"].partition(",")
    assert (finding["code"], first) == ("P201", "--prompt-text-column asked")
    assert "P201" not in codes(found(f"{DPO} --rejected-text-column rejected {first}", capsys))


def test_a_prompt_column_that_is_there_has_to_be_named(capsys):
    findings = found(f"{DPO} --rejected-text-column rejected", capsys)
    assert [finding["message"] for finding in findings] == ["dpo needs --prompt-text-column, and it was not given"]


# ---- early stopping that never stops


@pytest.mark.parametrize(
    "flags", ["--epochs 3", "--epochs 3 --eval-strategy epoch --save-strategy epoch", "--epochs 1 --eval-steps 2"]
)
def test_a_patience_that_outlasts_the_run_is_said_to(flags, capsys):
    command = f"{SFT.replace('--epochs 1', flags)} --eval-dataset-path held_out.jsonl --early-stopping-patience 5"
    (finding,) = found(command, capsys)
    assert finding["code"] == "P339" and finding["severity"] == "warning"
    first, _, second = finding["fix"].partition(", or ")
    for way in filter(None, (first, second)):
        names = {word for word in way.split() if word.startswith("--")}
        kept = shlex.split(command)
        rest = [
            word
            for at, word in enumerate(kept)
            if word not in names and (at == 0 or kept[at - 1] not in names or word.startswith("--"))
        ]
        assert found(f"{shlex.join(rest)} {way if way.startswith('--') else ''}", capsys) == [], way


def test_a_patience_that_can_run_out_is_left_alone(capsys):
    held_out = f"{SFT.replace('--epochs 1', '--epochs 5')} --eval-dataset-path held_out.jsonl"
    assert found(f"{held_out} --early-stopping-patience 4", capsys) == []
    assert codes(found(f"{held_out} --early-stopping-patience 5", capsys)) == ["P339"]


# ---- tokens


@pytest.mark.parametrize("token", ["${HF_TOKEN}", "$HF_TOKEN", "sk-abc123secret", "ghp_secret"])
def test_what_is_no_token_of_the_hub_is_said_to_be_none_and_never_shown(token, capsys):
    command = f"{SFT} --push-to-hub --username me --output-dir runs/mine --token {shlex.quote(token)}"
    (finding,) = found(command, capsys)
    assert finding["code"] == "P338" and finding["severity"] == "warning" and "hf_" in finding["message"]
    assert ("single quotes" in finding["message"]) == token.startswith("$")
    assert "secret" not in json.dumps(finding)


@pytest.mark.parametrize("token", ["hf_abcdef", "api_org_abcdef"])
def test_a_token_of_the_hub_is_taken(token, capsys):
    assert found(f"{SFT} --push-to-hub --output-dir runs/mine --token {token}", capsys) == []


def test_a_hub_of_ones_own_may_have_other_tokens(monkeypatch, capsys):
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.com")
    assert "P338" not in codes(found(f"{SFT} --push-to-hub --output-dir runs/mine --token abc", capsys))


@pytest.mark.parametrize("name", [name for name, ours in ALIASES.items() if ours == "token"])
def test_a_token_under_another_name_is_not_repeated(name):
    (finding,) = read([f"--{name}", "hf_secret"]).findings
    assert finding.fix == '--token "$HF_TOKEN"' and "secret" not in json.dumps(finding.as_json())


# ---- other tools' flags


@pytest.mark.parametrize("trainer", ["sft", "orpo", "kto", "grpo"])
def test_a_loss_of_dpo_is_said_to_be_dpos(trainer):
    (finding,) = read(shlex.split(f"--trainer {trainer} --loss_type ipo")).findings
    assert finding.message == f"--loss_type is called --dpo-loss here, which {trainer} does not read"
    assert finding.fix == "leave --loss_type out, or --dpo-loss ipo with --trainer dpo"


def test_steps_of_warm_up_are_said_to_be_a_share(here):
    (finding,) = read(shlex.split("--warmup_steps 10")).findings
    assert finding.fix.startswith("--warmup-ratio X, where X is 10 divided by the steps of the run")


def test_a_config_knows_the_steps_wherever_they_stand(here):
    from autotrain_llm.config.file import read_config

    (here / "run.yaml").write_text("warmup_steps: 10\nmax_steps: 100\n")
    (finding,) = read_config("run.yaml").findings
    assert finding.changes == {"warmup_ratio": 0.1}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("label_names", "--response-only-loss"),
        ("bnb_4bit_quant_type", "NF4"),
        ("enable_liger_kernel", "logits"),
        ("adam_beta2", "--optimizer"),
        ("hub_strategy", "--push-to-hub"),
        ("early_stopping_threshold", "--early-stopping-patience"),
        ("vllm_mode", "--rl-generation vllm"),
        ("evals_per_epoch", "--eval-steps"),
        ("logging_dir", "--log"),
        ("lr_scheduler_kwargs", "--scheduler"),
    ],
)
def test_what_has_no_flag_here_is_said_why(name, words):
    (finding,) = read([f"--{name}", "x"]).findings
    assert finding.code == "P104" and words in finding.message
    assert "did you mean" not in finding.message


@pytest.mark.parametrize(
    "flags", ["--plot-los 3", "--evidence x", "--logging-step logs", "--packin maybe", "--toke hf_x"]
)
def test_no_name_is_offered_that_is_far_or_can_not_have_the_value(flags):
    (finding,) = read(shlex.split(flags)).findings
    assert finding.code == "P104" and not finding.changes and "hf_x" not in json.dumps(finding.as_json())


@pytest.mark.parametrize("flags", ["--lerning-rate 1e-4", "--batch-sise 2", "--gradient-acumulation-steps 4"])
def test_a_slip_is_answered_with_the_name_that_was_meant(flags):
    (finding,) = read(shlex.split(flags)).findings
    assert finding.code == "P104" and finding.guess and not finding.changes


def test_no_flag_of_another_tool_is_listed_twice():
    assert not set(ALIASES) & set(NO_COUNTERPART) and not set(BY_TRAINER) & (set(ALIASES) | set(NO_COUNTERPART))
    assert not (set(PARAMS) - ANSWERING) & (set(ALIASES) | set(NO_COUNTERPART) | set(BY_TRAINER))


def test_a_prompt_inside_both_answers_is_not_missed_whatever_else_is(here, capsys):
    """With no column named at all, the one that is there is asked for, and the one that is not isn't."""
    turns = [
        {
            side: [{"role": "user", "content": f"Is {n} even?"}, {"role": "assistant", "content": said}]
            for side, said in answers
        }
        for n in range(12)
        for answers in [(("chosen", f"It is {('even', 'odd')[n % 2]}."), ("rejected", f"No idea, {n}."))]
    ]
    write_rows(here / "pairs.jsonl", turns)
    (finding,) = found(DPO, capsys)
    assert finding["code"] == "P201" and finding["fix"] == "--rejected-text-column rejected"
    assert found(f"{DPO} {finding['fix']}", capsys) == []
    write_rows(here / "pairs.jsonl", PAIRS)
    (finding,) = found(DPO, capsys)
    assert finding["fix"] == "--prompt-text-column prompt --rejected-text-column rejected"
    assert found(f"{DPO} {finding['fix']}", capsys) == []


@pytest.mark.parametrize("name", sorted(ANSWERING))
def test_a_name_of_answering_means_something_else_to_a_training(name):
    """`--temperature` samples the answers of --inference; to grpo it is another tool's name for --rl-temperature."""
    param = PARAMS[name]
    value = "2" if param.kind == "int" else "0.5" if param.kind == "float" else "words"
    answering = read(["--inference", "--model", "x", "--prompts", "Hi", param.flag, value])
    assert answering.findings == [] and str(answering.values[name]) == value
    for words in (["--trainer", "grpo"], ["--trainer", "sft"], []):
        training = read([*words, param.flag, value])
        (finding,) = training.findings
        assert (
            finding.code in ("P102", "P104")
            and name not in training.values
            and [item.name for item in training.unread] == [name]
        )
        assert finding == unknown(name, param.flag, value, given=training.values)
        assert param.flag not in (finding.fix or "").replace(f"leave {param.flag} out", "")


def test_the_temperature_of_a_training_is_that_of_its_answers(tmp_path):
    (finding,) = read(["--trainer", "grpo", "--temperature", "0.7"]).findings
    assert finding.code == "P102" and dict(finding.changes) == {"rl_temperature": "0.7"}
    (tmp_path / "run.yaml").write_text("trainer: grpo\ntemperature: 0.7\n")
    (finding,) = read_config(str(tmp_path / "run.yaml")).findings
    assert finding.code == "P102" and finding.changes["rl_temperature"] == 0.7
    assert "did you mean" not in read(["--trainer", "sft", "--temprature", "0.7"]).findings[0].message
    assert "--temperature" in read(["--inference", "--temprature", "0.7"]).findings[0].message


def test_other_words_of_sampling_are_answered_with_the_temperature():
    (finding,) = read(["--inference", "--model", "x", "--do-sample"]).findings
    assert finding.code == "P104" and finding.fix == "--temperature 0.7, or leave --do-sample out"


def test_a_prompt_column_that_another_finding_names_is_not_missed_besides(here, capsys):
    write_rows(here / "pairs.jsonl", [{"asked": f"Is {n} even?", **PAIRS[n]} for n in range(8)])
    (finding,) = found(f"{DPO} --rejected-text-column rejectd", capsys)
    assert finding["code"] == "D109" and "--prompt-text-column" in finding["fix"]


# ---- a name that is only similar has another meaning


@pytest.mark.parametrize("name", ["eval_interval", "eval-interval"])
def test_the_interval_of_evaluations_has_two_names(name, capsys):
    assert found(f"{SFT} --valid-split 2 --eval-strategy steps --{name} 1", capsys) == []


@pytest.mark.parametrize(
    ("written", "never"),
    [
        ("--eval-batches 50", "eval_batch_size"),
        ("--eval-interval 500", "logging_steps"),
        ("--max-eval-samples 50", "eval_samples"),
        ("--limit-val-batches 5", "eval_batch_size"),
        ("--save-batches 5", "save_steps"),
        ("--log-batches 5", "logging_steps"),
        ("--eval-epochs 2", "eval_steps"),
        ("--warmup-epochs 2", "warmup_ratio"),
        ("--group-size 128", "rl_num_generations"),
        ("--epsilon 1e-8", "rl_clip_range"),
        ("--gamma 0.5", "rl_gamma"),
        ("--reward-model x", "rl_reward_model_path"),
    ],
)
def test_a_fix_never_gives_a_name_another_meaning(written, never, capsys):
    findings = found(f"{SFT} --valid-split 2 {written}", capsys)
    assert all(finding.get("changes", {}).get(never) is None for finding in findings)


# Another tool's word for the same: what it stands for is certain only where the trainer reads it.
@pytest.mark.parametrize(
    ("name", "parameter", "trainer"), [("gamma", "rl_gamma", "ppo"), ("group_size", "rl_num_generations", "grpo")]
)
def test_a_name_stands_for_what_the_trainer_reads(name, parameter, trainer):
    certain = unknown(name, f"--{name}", "0.5" if parameter == "rl_gamma" else "8", given={"trainer": trainer})
    assert parameter in certain.changes
    unsure = unknown(name, f"--{name}", "0.5", given={"trainer": "sft"})
    assert not unsure.changes and unsure.fix is not None


@pytest.mark.parametrize("name", [param.name for param in PARAMS.values() if param.group in ("Schedule", "Evaluation")])
def test_a_mistyped_name_is_only_guessed(name):
    """One word of a name replaced by another word of the field."""
    words = name.split("_")
    for index, word in enumerate(words):
        for other in ("steps", "batches", "size", "epochs", "samples", "length", "ratio", "loss"):
            written = "_".join([*words[:index], other, *words[index + 1 :]])
            known = {*PARAMS, *ALIASES, *RENAMED, *BY_TRAINER}
            if other != word and written not in known and f"no_{written}" not in known:
                assert not unknown(written, f"--{written}", "1").changes, written


@pytest.mark.parametrize(
    "lines",
    [
        "datasets:\n  - path: a.jsonl\n    type: alpaca\n  - path: b.jsonl\n",
        "datasets: [a.jsonl, b.jsonl]\n",
        "data: [a.jsonl, b.jsonl]\n",
        "dataset: identity,alpaca_en_demo\n",
    ],
)
def test_several_data_sets_of_another_tool_s_config_are_a_mixture(lines, here, capsys):
    (here / "run.yaml").write_text(f"trainer: sft\nmodel: scratch:1m\nlr: 1e-3\nepochs: 1\nbatch_size: 4\n{lines}")
    (finding,) = found("--config run.yaml", capsys)
    assert finding["code"] == "P102" and finding["fix"].startswith("--data-config FILE") and "changes" not in finding


def test_the_number_of_rows_after_a_data_set_is_its_own_parameter(capsys):
    (finding,) = found(SFT.replace("--data-path rows.jsonl", "--dataset rows.jsonl#2"), capsys)
    assert (finding["code"], finding["fix"]) == ("P102", "--data-path rows.jsonl --max-samples 2")


# ---- key=value without dashes

TUNED = "tokenizer.path=MODEL checkpointer.checkpoint_dir=scratch:1m dataset.source=rows.jsonl optimizer.lr=2e-5 epochs=1 batch_size=2"


@pytest.mark.parametrize(
    ("word", "flag"),
    [
        ("batch_size=4", "--batch-size 4"),
        ("optimizer.lr=2e-5", "--lr 2e-5"),
        ("model.lora_rank=16", "--lora-r 16"),
        ("model.lora_alpha=32", "--lora-alpha 32"),
        ("dataset.packed=True", "--packing"),
        ("dataset.source=rows.jsonl", "--data-path rows.jsonl"),
        ("checkpointer.checkpoint_dir=models/llama", "--model models/llama"),
        ("tokenizer.max_seq_len=2048", "--block-size 2048"),
        ("gradient_accumulation_steps=8", "--gradient-accumulation 8"),
        ("enable_activation_checkpointing=True", "--gradient-checkpointing"),
        ("actor_rollout_ref.model.path=models/llama", "--model models/llama"),
        ("actor_rollout_ref.actor.optim.lr=1e-6", "--lr 1e-6"),
        ("data.train_files=rows.parquet", "--data-path rows.parquet"),
        ("+trainer.total_epochs=2", "--epochs 2"),
        ("model.apply_lora_to_mlp=True", "--target-modules"),
        ("compile=True", "--compile on"),
        ("metric_logger.frobs=3", "--help"),
    ],
)
def test_a_parameter_without_dashes_is_answered_with_its_flag(word, flag):
    (finding,) = read(["--trainer", "sft", word]).findings
    assert flag in finding.fix and finding.code in ("P102", "P104")


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ("model.lora_rank=16", "--lora-r 16 --peft"),
        ("actor_rollout_ref.model.lora_rank=16", "--lora-r 16 --peft"),
        ("model.lora_rank=16 --peft", "--lora-r 16"),
        ("model.lora_rank=0", "leave model.lora_rank= out, or --lora-r N"),
        ("peft.lora_rank=16", "--lora-r 16"),
    ],
)
def test_the_rank_of_a_model_is_answered_with_the_switch_that_it_needs(words, fix):
    (finding,) = read(["--trainer", "sft", *words.split()]).findings
    assert finding.fix == fix


def test_what_is_given_without_dashes_is_not_missing_besides(capsys):
    findings = found(f"--trainer sft {TUNED}", capsys)
    assert codes(findings) == ["P102"] * 6


def test_the_fixes_of_parameters_without_dashes_work_when_typed(capsys):
    fixes = [finding["fix"] for finding in found(f"--trainer sft {TUNED.partition(' ')[2]}", capsys)]
    assert codes(found(f"--trainer sft {' '.join(fixes)}", capsys)) == []


def test_a_corrected_command_has_each_parameter_once(capsys):
    words = (
        f"--trainer sft --data.json_path rows.jsonl {TUNED.partition(' ')[2].replace('dataset.source=rows.jsonl', '')}"
    )
    assert main(["llm", *shlex.split(words), "--fix", "--dry-run"]) == 0
    output = capsys.readouterr()
    (command,) = [line for line in (output.out + output.err).splitlines() if line.startswith("autotrain llm ")]
    assert "." not in command.replace("rows.jsonl", "").replace("epochs 1.0", "") and "=" not in command


@pytest.mark.parametrize("words", ["stray", "--run-name my first=try", "a=b"])
def test_words_that_are_no_parameter_are_stray(words):
    assert codes([one.as_json() for one in read(shlex.split(words)).findings]) == ["P121"]


# ---- sections

SECTIONS = """
model:
  model_name: scratch:1m
  model_max_length: 512
data:
  train:
    datasets:
      - dataset_name: text_sft
        dataset_path: rows.jsonl
    collator_name: text_completions_only
training:
  trainer_type: TRL_SFT
  use_peft: true
  num_train_epochs: 1
  per_device_train_batch_size: 2
  learning_rate: 2.0e-04
  lr_scheduler_type: cosine
  optimizer: adamw_torch
peft:
  lora_r: 8
  lora_target_modules: [q_proj, v_proj]
"""


def test_each_key_in_the_sections_of_another_tool_s_config_is_answered(here, capsys):
    (here / "train.yaml").write_text(SECTIONS)
    findings = found("--config train.yaml", capsys)
    fixes = " ".join(finding["fix"] for finding in findings)
    for flag in (
        "--model scratch:1m", "--model-max-length 512", "--data-path rows.jsonl", "leave 'data.train.collator_name' out", "--trainer sft", "--peft",
        "--epochs 1", "--batch-size 2", "--lr 2e-4", "--scheduler cosine", "--optimizer adamw_torch", "--lora-r 8",
        "--target-modules q_proj,v_proj",
    ):  # fmt: skip
        assert flag in fixes
    assert {*codes(findings)} == {"P102", "P104", "P322"}  # and a new model gets no adapter


@pytest.mark.parametrize(
    ("flags", "fix"),
    [
        ("--data JSON", "leave --data out"),
        ("--data.json_path rows.jsonl", "--data-path rows.jsonl"),
        ("--data.val_split_fraction 0.1", "--valid-split 0.1"),
        ("--data.mask_prompt true", "--response-only-loss"),
        ("--train.epochs 2", "--epochs 2"),
        ("--train.micro_batch_size 4", "--batch-size 4"),
        ("--precision bf16-true", "--mixed-precision bf16"),
    ],
)
def test_a_flag_with_sections_is_answered(flags, fix):
    (finding,) = read(["--trainer", "sft", *shlex.split(flags)]).findings
    assert finding.fix == fix


def test_a_key_in_a_section_means_the_same_in_a_file(here, capsys):
    (here / "verl.yaml").write_text("data:\n  train_files: rows.jsonl\n  prompt_key: question\n")
    fixes = {finding["fix"] for finding in found("--trainer grpo --config verl.yaml", capsys)}
    assert {"--data-path rows.jsonl", "--text-column question"} <= fixes


def test_the_arguments_of_a_class_in_a_file_stand_in_its_section(here, capsys):
    (here / "litgpt.yaml").write_text(
        "data:\n  class_path: litgpt.data.JSON\n  init_args:\n    json_path: rows.jsonl\n    val_split_fraction: 0.1\n"
    )
    findings = found(f"{SFT.replace(' --data-path rows.jsonl', '')} --config litgpt.yaml", capsys)
    assert [finding["fix"] for finding in findings] == [
        "leave 'data.class_path' out",
        "--data-path rows.jsonl",
        "--valid-split 0.1",
    ]


@pytest.mark.parametrize(
    ("flags", "fix"),
    [
        ("--num_generations 0", "leave --num_generations out, or --rl-num-generations N"),
        ("--gradient_accumulation_steps 0", "leave --gradient_accumulation_steps out, or --gradient-accumulation N"),
        ("--per_device_train_batch_size 0", "--batch-size N"),
        ("--num_train_epochs 0", "--epochs X"),
        ("--max_eval_samples 0", "--eval-batches N, or leave --max_eval_samples out"),
    ],
)
def test_a_number_outside_our_bounds_is_not_offered(flags, fix):
    (finding,) = read(["--trainer", "grpo", *flags.split()]).findings
    assert finding.fix == fix and not finding.suggestion


def test_what_another_tools_name_in_a_section_stands_for_is_not_asked_for_again(capsys):
    without_data = SFT.replace("--data-path rows.jsonl", "--custom_dataset.file rows.py --data.train_files rows.py")
    assert codes(found(without_data, capsys)) == ["P102", "P102"]


@pytest.mark.parametrize(
    ("flags", "fix"),
    [
        ("--lora.alpha 32", "--lora-alpha 32"),
        ("--lora.dropout 0.05", "--lora-dropout 0.05"),
        ("--eval.batch_size 4", "--eval-batch-size 4"),
        ("--model.max_length 512", "--block-size 512"),
    ],
)
def test_a_section_and_a_name_are_one_name_where_they_are_a_parameter_s(flags, fix):
    (finding,) = read(["--trainer", "sft", *shlex.split(flags)]).findings
    assert in_words(finding.changes) == fix


# ---- null in a file


def test_another_tool_s_key_without_a_value_sets_nothing(here):
    nothing = "resume_from_checkpoint:\nfp16:\nwandb_name:\nlora_model_dir:\nxformers_attention:\ndeepspeed:\n"
    (here / "train.yaml").write_text(f"{nothing}training:\n  run_name: null\n  fp16: null\n")
    assert not read_config("train.yaml").findings
    (here / "train.yaml").write_text("fp16: true\nlearning_rat:\n")
    assert [finding.parameters for finding in read_config("train.yaml").findings] == [("fp16",), ("learning_rat",)]


def test_a_tracker_s_project_that_is_null_needs_no_tracker(here, capsys):
    (here / "train.yaml").write_text("wandb_project:\n")
    assert not found(f"{SFT} --config train.yaml", capsys)


def test_a_name_depends_on_the_trainer_also_where_that_has_another_name(here, capsys):
    (here / "train.yaml").write_text("rl_beta: 0.5\nrl: kto\n")
    fixes = [finding.get("fix") for finding in found("--config train.yaml", capsys)]
    assert "--kto-beta 0.5" in fixes and "--dpo-beta 0.5" not in fixes


def test_rows_under_another_tool_s_name_are_not_looked_for_where_none_are_given(here, capsys):
    (here / "train.yaml").write_text("trainer: dpo\ndataset_path: pairs.jsonl\n")
    assert codes(found("--config train.yaml", capsys)) == ["P102", "P201"]


def test_null_for_a_parameter_that_always_has_a_value_is_its_default(here, capsys):
    (here / "base.yaml").write_text("seed: 7\n")
    (here / "train.yaml").write_text("extends: base.yaml\nseed: null\nstrict: false\n")
    parsed = read_config("train.yaml")
    assert not parsed.findings and "seed" not in parsed.values


# ---- what turns something off in other tools


@pytest.mark.parametrize(
    ("flags", "fix"),
    [
        ("--save_steps -1", "--save-strategy no and remove --save-steps"),
        ("--eval_steps -1", "--eval-strategy no and remove --eval-steps"),
        ("--early-stopping-patience 0", "remove --early-stopping-patience"),
        ("--max-samples -1", "remove --max-samples"),
    ],
)
def test_a_number_that_means_never_elsewhere_is_answered_with_never(flags, fix, capsys):
    (finding,) = found(f"{SFT} {flags}", capsys)
    assert (finding["code"], finding["fix"]) == ("P301", fix)


def test_no_rows_are_held_out_where_none_are_asked_for(here, capsys):
    assert not found(f"{SFT} --valid-split 0", capsys)
    (finding,) = found(f"{SFT} --valid-split 0 --eval-strategy steps --eval-steps 2", capsys)
    assert finding["fix"] == "remove --eval-strategy, --eval-steps, or --valid-split 0.1"
    (here / "train.yaml").write_text("val_size: 0\neval_strategy: steps\neval_steps: 1000000\n")
    assert main(["llm", *shlex.split(SFT), "--config", "train.yaml", "--fix"]) == 0
    command = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("autotrain llm"))
    assert "0.1" not in command and "0.5" not in command and "--eval-s" not in command


def test_the_split_beside_the_training_rows_is_offered_before_rows_are_held_out(here, capsys):
    (here / "folder").mkdir()
    for name in ("train", "valid"):
        write_rows(here / "folder" / f"{name}.jsonl", [{"text": f"{name} {n} is a text."} for n in range(3)])
    (finding,) = found(f"{SFT.replace('rows.jsonl', 'folder')} --eval-strategy epoch", capsys)
    assert finding["changes"] == {"valid_split": "validation"} and "has a split validation" in finding["message"]


# ---- two names, of which one divides the other


@pytest.mark.parametrize(
    ("flags", "fixes"),
    [
        ("--train_batch_size 256 --micro_train_batch_size 1", ["--global-batch 256", "--batch-size 1"]),
        ("--batch_size 128 --micro_batch_size 4", ["--batch-size 4 --global-batch 128 in place of --batch-size 128"]),
        ("--global_batch_size 12 --micro_batch_size 5", ["--global-batch 12", "--batch-size 5"]),
        ("--micro_batch_size 2 --gradient_accumulation_steps 4", ["--batch-size 2", "--gradient-accumulation 4"]),
    ],
)  # fmt: skip
def test_the_rows_of_a_batch_and_of_a_step_are_read_together(flags, fixes):
    parsed = read(["--trainer", "sft", *flags.split()])
    assert [finding.fix or in_words(finding.changes) for finding in parsed.findings] == fixes


def test_the_rows_of_a_batch_and_of_a_step_are_read_together_in_a_file(here):
    (here / "train.yaml").write_text("train_batch_size: 16\nmicro_batch_size: 2\n")
    changes = [dict(finding.changes) for finding in read_config("train.yaml").findings]
    assert changes == [{"global_batch": 16}, {"batch_size": 2}]


# ---- names in sections, names with a known beginning, and values in another form


@pytest.mark.parametrize(
    ("text", "fixes"),
    [
        ("dataset:\n  column_map:\n    input: document\n    output: summary\n", ["--prompt-text-column document", "--text-column summary"]),
        ("lora_parameters:\n  keys: [self_attn.q_proj, self_attn.v_proj]\n  rank: 8\n  dropout: 0.0\n",
         ["--target-modules q_proj,v_proj", "--lora-r 8 --peft", "--lora-dropout 0.0"]),
        ("dataset:\n  split: train[:2000]\n", ["--max-samples 2000"]),
        ("dataset:\n  split: extra[:20]\n", ["--train-split extra --max-samples 20"]),
        ("lora_target_modules: '[Wqkv]'\n", ["--target-modules Wqkv"]),
    ],
)  # fmt: skip
def test_a_value_in_another_tool_s_section_or_form_is_not_lost(text, fixes, here):
    (here / "train.yaml").write_text(text)
    assert [in_words(finding.changes) for finding in read_config("train.yaml").findings] == fixes


@pytest.mark.parametrize(
    "flag", ["--vllm_of_tomorrow", "--fsdp_of_tomorrow", "--deepspeed_stage", "--lora_fan_in_fan_out", "--freeze_some_of_it"]
)  # fmt: skip
def test_a_name_that_begins_as_a_known_one_does_is_answered_with_its_reason(flag):
    (finding,) = read([flag, "1"]).findings
    assert finding.fix == f"leave {flag} out" and ": " in finding.message


def test_a_share_of_the_run_is_no_number_of_steps(capsys):
    (finding,) = found(f"{SFT} --save-steps 0.1 --save-strategy steps", capsys)
    assert "0.1 times the steps of the run" in finding["fix"]
    (finding,) = found(f"{SFT} --save-steps 0.1 --max-steps 50", capsys)
    assert finding["changes"] == {"save_steps": 5}


def test_the_length_of_sampled_answers_keeps_its_value_under_its_other_name(capsys):
    findings = found(f"{GRPO} --max_completion_length 64 --rl-reward-fn os:getcwd", capsys)
    (finding,) = [finding for finding in findings if finding["code"] == "P101"]
    assert finding["changes"] == {"max_completion_length": None, "rl_max_new_tokens": 64}


def test_the_usual_names_of_columns_are_not_applied_before_a_row_is_read(here, capsys):
    write_rows(
        here / "asked.jsonl",
        [{"question": f"Is {n} even?", "response_chosen": "Yes.", "response_rejected": f"No {n}."} for n in range(4)],
    )
    rest = DPO.replace("--data-path pairs.jsonl", "--train_file asked.jsonl")
    assert main(["llm", *shlex.split(rest), "--fix"]) == 0
    command = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("autotrain llm"))
    assert "--prompt-text-column question --rejected-text-column response_rejected" in command


def test_a_value_that_is_null_in_a_file_is_left_out_of_the_corrected_command(here, capsys):
    (here / "train.yaml").write_text("num_train_epochs: 1\nwandb_project:\nearly_stopping_patience: null\n")
    assert main(["llm", *shlex.split(SFT.replace("--epochs 1", "")), "--config", "train.yaml", "--fix"]) == 0
    command = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("autotrain llm"))
    assert "none" not in command and "--epochs 1" in command
