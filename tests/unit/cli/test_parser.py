"""From words to what was said."""

from __future__ import annotations

import shlex

import pytest

from autotrain_llm.cli.parser import build_parser, read
from autotrain_llm.config.aliases import ACCEPTED, ALIASES
from autotrain_llm.config.registry import PARAMS

SETTINGS = [param for param in PARAMS.values() if param.name != "trainer"]
SWITCHES = [param for param in PARAMS.values() if param.kind == "switch"]
TYPED = {
    "int": ("3", 3),
    "float": ("0.25", 0.25),
    "str": ("words", "words"),
    "list": ("a,b", ("a", "b")),
    "json": ("{}", {}),
}


def values(command: str) -> dict:
    said = read(shlex.split(command))
    assert said.findings == [], said.findings
    return said.values


def faults(command: str) -> list[tuple[str, str]]:
    return [(finding.code, finding.message) for finding in read(shlex.split(command)).findings]


def test_nothing_is_said_where_nothing_was_typed():
    assert values("") == {}


@pytest.mark.parametrize("param", SETTINGS, ids=lambda param: param.name)
def test_every_parameter_is_taken_in_both_spellings_and_with_an_equals_sign(param):
    raw, expected = ("true", True) if param.kind == "switch" else TYPED[param.kind]
    if param.choices:
        raw = expected = param.choices[0]
    # Elsewhere the name of a parameter that is for answering alone is another tool's for something else.
    before, also = ("--inference ", {"inference": True}) if param.answering else ("", {})
    for word in (param.flag, f"--{param.name}"):
        assert values(f"{before}{word} {raw}") == {**also, param.name: expected}
        assert values(f"{before}{word}={raw}") == {**also, param.name: expected}


@pytest.mark.parametrize("param", SWITCHES, ids=lambda param: param.name)
def test_every_switch_takes_nothing_true_false_and_its_negation(param):
    assert values(param.flag) == values(f"{param.flag} true") == {param.name: True}
    assert values(f"{param.flag} false") == values(f"--no-{param.flag[2:]}") == {param.name: False}
    assert values(f"--no_{param.name}") == {param.name: False}


@pytest.mark.parametrize("raw", ["-1e-5", "-1", "-.5", "-2E+3"])
def test_a_negative_or_scientific_number_is_a_value_and_no_flag(raw):
    assert values(f"--lr {raw}") == {"lr": float(raw)}


def test_a_text_that_begins_with_dashes_and_has_a_space_is_a_value():
    assert values("--inference --prompts '--help me'") == {"inference": True, "prompts": "--help me"}


def test_the_last_of_a_repeated_flag_wins_even_over_a_bad_one():
    said = read(shlex.split("--lr none_such --lr 1 --lr 2"))
    assert said.values == {"lr": 2.0}
    assert [(finding.code, finding.severity) for finding in said.findings] == [("P126", "warning")]
    assert values("--lr 1 --lr 1 --peft --peft") == {"lr": 1.0, "peft": True}
    assert read(shlex.split("--output-dir a --project-name b")).values == {"output_dir": "b"}
    assert read(shlex.split("--project-name b --output-dir a")).values == {"output_dir": "a"}


def test_a_value_after_a_switch_is_its_value():
    assert [one.fix for one in read(["--resume", "atuo"]).findings] == ["--resume auto"]
    assert faults("--peft maybe") == [("P302", "--peft must be true or false, got 'maybe'")]


def test_flags_are_not_abbreviated():
    assert [code for code, _ in faults("--batch 3")] == ["P104"]


def test_all_faults_are_told_together_and_the_rest_is_taken():
    said = read(shlex.split("--lr 1 --grad-accum 3 --dpo-bta 0.1 stray --epochs many --no-peft=yes more --model"))
    assert said.values == {"lr": 1.0}
    assert sorted(finding.code for finding in said.findings) == ["P102", "P104", "P120", "P120", "P121", "P121", "P302"]


def test_a_foreign_name_is_answered_with_ours_and_the_value_that_was_given():
    said = read(["--wd", "3e-4"])
    assert [(finding.code, finding.fix) for finding in said.findings] == [("P102", "--weight-decay 3e-4")]
    (finding,) = read(["--wd", "-3e-4"]).findings
    assert finding.code == "P102" and finding.message.endswith("must be 0 or more, got -3e-4")


def test_a_missing_value_is_missed_at_the_end_and_before_another_flag():
    assert [code for code, _ in faults("--lr --epochs")] == ["P120", "P120"]


def test_stray_words_are_one_finding():
    assert faults("one two") == [("P121", "'one', 'two' belong to no flag")]


@pytest.mark.parametrize("name", ALIASES)
def test_every_foreign_name_is_unknown_to_the_parser_and_known_to_its_answer(name):
    assert [code for code, _ in faults(f"--{name} 1")] == ["P102"]


@pytest.mark.parametrize("accepted", ACCEPTED, ids=lambda accepted: accepted.name)
def test_what_is_accepted_from_other_tools_draws_a_warning_or_sets_something(accepted):
    said = read([accepted.flag, "right"] if accepted.takes_value else [accepted.flag])
    assert said.values == dict(accepted.sets)
    assert [finding.severity for finding in said.findings] == ([] if accepted.sets else ["warning"])


def test_the_parser_holds_every_flag_once_and_no_default():
    parser = build_parser()
    flags = [flag for action in parser._actions for flag in action.option_strings]
    assert sorted(set(flags)) == sorted(flags)
    assert {param.flag for param in PARAMS.values()} <= set(flags)
    assert vars(parser.parse_args([])) == {}


def test_a_stray_word_may_be_longer_than_a_file_name():
    (finding,) = read(["--model", "model", "x" * 300]).findings
    assert finding.code == "P121"


def test_words_behind_a_list_are_its_next_names():
    (finding,) = read(shlex.split("--target-modules q_proj v_proj k_proj")).findings
    assert finding.fix == "--target-modules q_proj,v_proj,k_proj"
    assert read(shlex.split("--lr 1 2")).findings[0].fix == "quote a text with spaces, or remove it"


def test_what_has_no_counterpart_here_is_said_to_have_none():
    (finding,) = read(["--machine-rank", "1"]).findings
    assert finding.code == "P104" and "--head-address" in finding.message


def test_what_other_tools_call_the_number_of_processes_is_answered_with_ours():
    (gpus,), (nodes,) = read(["--nproc-per-node", "4"]).findings, read(["--nnodes", "2"]).findings
    assert (gpus.changes, nodes.changes) == ({"num_processes": "4"}, {"num_nodes": "2"})


def test_what_a_word_processor_makes_of_a_minus_sign_is_understood():
    (finding,) = read(["--lr", "2e\u22125"]).findings
    assert finding.changes == {"lr": 2e-5}


def test_a_long_dash_is_told_apart_from_two_hyphens():
    said = read(["\u2014lr", "2e-5", "--seed", "\u22127"])
    assert said.values == {"lr": 2e-5}
    assert sorted(finding.code for finding in said.findings) == ["P104", "P302"]


@pytest.mark.parametrize(
    ("command", "fix"),
    [
        ("--lr 1e-4,", "--lr 1e-4"),
        ("--epochs 3.5.", "--epochs 3.5"),
        ("--warmup-ratio 10%", "--warmup-ratio 0.1"),
        ("--lr 0,0001", "--lr 1e-4"),
        ("--eval-metrics \"['bleu', 'rouge']\"", "--eval-metrics bleu,rouge"),
        ("--sweep-params \"{'lr': [1e-5]}\"", "--sweep-params '{\"lr\": [1e-05]}'"),
        ("--batch-size 4k", "--batch-size N"),
        ("--peft perhaps", "--peft, or --no-peft"),
    ],
)
def test_a_badly_written_value_is_shown_as_it_was_meant(command, fix):
    (finding,) = read(shlex.split(command)).findings
    assert (finding.code, finding.fix) == ("P302", fix)


@pytest.mark.parametrize(
    ("command", "fix"),
    [
        ("--use-lora", "--peft"),
        ("--use-lora false", "--no-peft"),
        ("--load-in-4bit", "--quantization int4"),
        ("--bf16", "--mixed-precision bf16"),
        ("--trainer dpo --loss-type ipo", "--dpo-loss ipo"),
        ("--max-steps 1000 --warmup-steps 100", "--warmup-ratio 0.1"),
        ("--warmup-steps 0.1", "--warmup-ratio 0.1"),
        ("--val-set-size 0.1", "--valid-split 0.1"),
        ("--torch-dtype bfloat16", "--mixed-precision bf16"),
        ("--wandb", "--log wandb"),
        ("--use-4bit", "--quantization int4"),
        ("--use-int4", "--quantization int4"),
        ("--use_int8 true", "--quantization int8"),
        ("--use_vllm", "--rl-generation vllm"),
        ("--adapter qlora", "--peft --quantization int4"),
        ("--adapter lora", "--peft"),
        ("--repo-id me/x", "--push-to-hub --username me --output-dir runs/x"),
        ("--push-to-hub-id a", "--push-to-hub --output-dir runs/a"),
        ("--hub_model_id true", "--push-to-hub"),
        ("--push_to_hub_organization us", "--username us"),
        ("--train_on_inputs false", "--response-only-loss"),
        ("--train_on_prompt", "--no-response-only-loss"),
        ("--stage rm", "--trainer reward"),
        ("--stage pt", "--trainer generic"),
        ("--lora_target all", "--target-modules all-linear"),
        ("--sdp_attention true", "--attn-implementation sdpa"),
        ("--flash_attention true", "--attn-implementation flash_attention_2"),
        ("--num_generations 4", "--rl-num-generations 4"),
        ("--merge_lora true", "--merge-adapter"),
        ("--lr_warmup_ratio 0.1", "--warmup-ratio 0.1"),
        ("--max-steps 200 --warmup_steps 10", "--warmup-ratio 0.05"),
        ("--trainer dpo --loss_type ipo", "--dpo-loss ipo"),
        ("--trainer grpo --loss_type dr_grpo", "--rl-advantage dr_grpo"),
        ("--trainer sft --loss_type reverse_kl", "--distill-loss reverse_kl"),
    ],
)
def test_what_other_tools_say_is_answered_with_what_is_said_here(command, fix):
    (finding,) = read(shlex.split(command)).findings
    assert (finding.code, finding.fix) == ("P102", fix)


@pytest.mark.parametrize(
    ("command", "fix"), [("--trainer rm", "--trainer reward"), ("--trainer sft-lora", "--trainer sft --peft")]
)
def test_another_tools_trainer_is_answered_with_ours(command, fix):
    (finding,) = read(shlex.split(command)).findings
    assert (finding.code, finding.fix) == ("P303", fix)


@pytest.mark.parametrize("flags", ["--output-dir ''", "--project-name=", "--tokenizer '  '"])
def test_a_text_that_is_empty_is_no_value(flags):
    """What `--output-dir "$OUT"` comes to where OUT is not set: nobody means a folder that was not named."""
    (finding,) = read(shlex.split(flags)).findings
    assert finding.code == "P302" and "must be given a value" in finding.message and "shell" in finding.message
    assert dict(finding.changes) == {finding.parameters[0]: None}


def test_an_empty_token_is_none():
    assert values("--token ''") == {"token": ""}


def test_a_value_that_can_not_be_ours_is_not_taken_over_from_another_tools_flag():
    (finding,) = read(shlex.split("--trainer grpo --reward_funcs accuracy format")).findings
    assert finding.fix == "--rl-reward-fn MODULE:FUNCTION|FILE.py:FUNCTION" and not finding.suggestion
    assert "'accuracy' and 'format' can't be its value" in finding.message
    (finding,) = read(shlex.split("--reward_funcs rewards.py:score statistics:mean")).findings
    assert finding.fix == "--rl-reward-fn rewards.py:score,statistics:mean"


def test_a_data_set_of_another_tool_is_named_only_if_it_can_be_one_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["--dataset", "custom_dataset"]
    assert [finding.fix for finding in read(command).findings] == ["--data-path PATH"]
    (tmp_path / "custom_dataset").mkdir()
    assert [finding.fix for finding in read(command).findings] == ["--data-path custom_dataset"]
    assert [finding.fix for finding in read(["--dataset", "a/b"]).findings] == ["--data-path a/b"]
    (finding,) = read(["--custom_dataset.file", "custom_dataset.py"]).findings
    assert finding.fix == "--data-path PATH" and "a program" in finding.message


@pytest.mark.parametrize("given", ["--quantization int4", "--load_in_4bit"])
def test_no_guess_replaces_what_is_given(given):
    last = read(shlex.split(f"{given} --quantisatoin none")).findings[-1]
    assert (last.code, last.fix) == ("P104", "leave --quantisatoin out") and not last.suggestion


def test_no_guess_of_what_comes_nearest_replaces_what_is_given():
    (finding,) = read(shlex.split("--seed 8 --data_seed 64")).findings
    assert finding.code == "P104" and not finding.suggestion
    (finding,) = read(shlex.split("--data_seed 64")).findings
    assert finding.guess == {"seed": "64"}


def test_another_tools_name_does_not_replace_what_is_given_and_says_so():
    (finding,) = read(shlex.split("--batch-size 8 --per_device_train_batch_size 4")).findings
    assert not finding.suggestion
    assert finding.fix == "leave --per_device_train_batch_size out, or --batch-size 4 in place of --batch-size 8"
    (finding,) = read(shlex.split("--batch-size 4 --per_device_train_batch_size 4")).findings
    assert finding.changes == {"batch_size": "4"}
