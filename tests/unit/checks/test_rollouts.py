"""What is refused of a policy's rewards and sampling before a weight is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotrain_llm.checks.preflight import Checked, preflight
from autotrain_llm.cli.main import main
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.resolved import resolve
from autotrain_llm.context.machine import Gpu, Machine
from autotrain_llm.context.reward_functions import find_function, ignores_completions
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.declare.finding import Finding
from support.light_models import build_light_model
from support.rows import write_rows

GOOD = "def score(prompts, completions, **columns):\n    return [len(text) / 99 for text in completions]\n"


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"what is {n}", "answer": str(n)} for n in range(12)])


def function(folder: Path, source: str) -> str:
    path = folder / "scorers.py"
    path.write_text(source, encoding="utf-8")
    return f"{path}:score"


def checked(data: Path, model: Path, **flags: Any) -> Checked:
    command = {"trainer": "grpo", "model": str(model), "data_path": str(data), "lr": 1e-6, "epochs": 1, "batch_size": 4}
    said = parse_kwargs({**command, "dry_run": True, **flags})
    assert said.findings == []
    return preflight(resolve(said.values))


def only(found: Checked, code: str) -> Finding:
    (finding,) = found.findings
    assert finding.code == code
    return finding


# ---- what is in order


def test_a_function_or_a_reward_model_is_enough_and_draws_nothing(tmp_path, prompts, light_llama, light_scorer):
    by_function = checked(prompts, light_llama, rl_reward_fn=function(tmp_path, GOOD))
    by_model = checked(prompts, light_llama, rl_reward_model_path=str(light_scorer))
    both = checked(prompts, light_llama, rl_reward_fn=function(tmp_path, GOOD), rl_reward_model_path=str(light_scorer))
    assert by_function.findings == by_model.findings == both.findings == ()
    assert [entry.name for entry in both.plan.rollouts.rewards] == [light_scorer.name, "score"]
    said = [row for _, rows in both.plan.summary() for row in rows if row[0] == "reward"]
    assert len(said) == 1 and str(light_scorer) in said[0][1] and "scorers.py:score" in said[0][1]


@pytest.mark.parametrize("trainer", ["ppo", "grpo"])
def test_something_has_to_score(trainer, prompts, light_llama):
    finding = only(checked(prompts, light_llama, trainer=trainer), "P201")
    assert f"{trainer} needs --rl-reward-model-path or --rl-reward-fn, and none was given" in finding.message


# ---- functions


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("score", "is not the name of a function"),
        ("{folder}/scorer.py:score", "there is no file"),
        ("{folder}/scorers.py:scored", "has no function scored"),
        ("{folder}/scorers.py:LIMIT", "has no function LIMIT"),
        ("{folder}/broken.py:score", "not valid Python"),
        ("no_such_module_here:score", "there is no module no_such_module_here"),
        ("json.no_such_part:score", "there is no module json.no_such_part"),
        ("statistics:no_such_function", "has no function no_such_function"),
    ],
)
def test_a_function_that_is_not_there_is_said_to_be_missing(written, said, tmp_path, prompts, light_llama):
    function(tmp_path, GOOD + "LIMIT = 3\nraise SystemExit('nothing is run to find this out')\n")
    (tmp_path / "broken.py").write_text("def score(:\n", encoding="utf-8")
    finding = only(checked(prompts, light_llama, rl_reward_fn=written.format(folder=tmp_path)), "P730")
    assert said in finding.message and finding.parameters == ("rl_reward_fn",)


def test_the_nearest_name_is_offered(tmp_path, prompts, light_llama):
    path = function(tmp_path, GOOD).rpartition(":")[0]
    assert (
        only(checked(prompts, light_llama, rl_reward_fn=f"{path}:scor"), "P730").fix == f"--rl-reward-fn {path}:score"
    )
    near = checked(prompts, light_llama, rl_reward_fn=str(Path(path).with_name("scorer.py:score")))
    assert only(near, "P730").fix == f"--rl-reward-fn {path}:score"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def score(completions, **rest):\n    return [1.0]\n", "returns 1 value, not a list of 2 numbers"),
        ("def score(completions, **rest):\n    return 1.0\n", "returns a float, not a list"),
        ("def score(completions, **rest):\n    return None\n", "returns a NoneType, not a list"),
        ("def score(completions, **rest):\n    return ['good'] * 2\n", "returns 'good' for the answer ''"),
        ("def score(completions, **rest):\n    return [None] * 2\n", "returns 'None' for the answer ''"),
        (
            "def score(completions, **rest):\n    return [1.0, float('nan')]\n",
            "returns 'nan' for the answer 'An answer.'",
        ),
        ("def score(completions, **rest):\n    return [t.split()[0] for t in completions]\n", "IndexError"),
        ("def score(completions, **rest):\n    exit(3)\n", "SystemExit"),
        ("def score(completions, solution):\n    return [1.0] * 2\n", "requires solution"),
        ("import no_such_package_here\ndef score(**rest):\n    return []\n", "importing it fails: ModuleNotFoundError"),
        ("def made():\n    return 3\nscore = made()\n", "score is an int, no function"),
    ],
)
def test_a_function_that_fails_at_its_first_call_is_found_before_a_weight_is_loaded(
    source, said, tmp_path, prompts, light_llama
):
    found = checked(prompts, light_llama, rl_reward_fn=function(tmp_path, source)).findings
    (finding,) = (finding for finding in found if finding.code != "P812")  # some don't look at the answers either
    assert finding.code == "P731"
    assert said in finding.message and "prompts.jsonl, row 1: '' and 'An answer.'" in finding.message
    assert finding.file == str(tmp_path / "scorers.py")


GUARDED = """def score(completions, answer, **rest):
    scores = []
    for text, right in zip(completions, answer):
        try:
            scores.append(1.0 if right in text[0]["content"] else 0.0)
        except Exception as problem:
            print("skipped", problem)
            scores.append(0.0)
    return scores
"""


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        (GUARDED, "P748", "it catches TypeError: string indices must be integers, not 'str' (line 5): each completion is a text here"),
        (GUARDED, "P748", "it prints \"skipped string indices must be"),
        (GUARDED.replace('text[0]["content"]', "text"), None, ""),
        ("def score(completions, solution=None, **rest):\n    return [float(text == solution) for text in completions]\n", "P748", "no column solution"),
        ("def score(completions, **rest):\n    return [float(text == rest.get('solution')) for text in completions]\n", "P748", "no column solution"),
        ("def score(completions, **rest):\n    return [len(text) + (rest.get('solution') or 0) for text in completions]\n", "P749", "reads solution"),
        ("def score(completions, trainer_state=None, tolerance=0.1, **rest):\n    return [len(text) for text in completions]\n", None, ""),
        ("import re\ndef score(completions, answer, **rest):\n    found = [re.search(r'boxed{(.*)}', text) for text in completions]\n    return [float(bool(one) and one[1] == right) for one, right in zip(found, answer)]\n", None, ""),
        ("def score(completions, **rest):\n    return [1 / len(text.strip('#')) if text else 0.0 for text in completions]\n", None, ""),
    ],
)  # fmt: skip
def test_a_function_that_tells_no_answers_apart_is_found_before_a_weight_is_loaded(
    source, code, said, tmp_path, light_llama
):
    rows = tmp_path / "answered.jsonl"
    rows.write_text('{"prompt": "What is 5 + 7?", "answer": "12"}\n{"prompt": "What is 1 + 1?", "answer": "2"}\n')
    found = checked(rows, light_llama, rl_reward_fn=function(tmp_path, source)).findings
    assert [finding.code for finding in found] == ([code] if code else [])
    assert said in "".join(finding.message for finding in found)


def test_a_function_may_return_an_array_or_name_only_what_it_wants(tmp_path, prompts, light_llama):
    array = "import numpy\ndef score(completions):\n    return numpy.array([len(text) for text in completions])\n"
    assert checked(prompts, light_llama, rl_reward_fn=function(tmp_path, array)).findings == ()


def test_a_function_is_not_called_where_anything_else_is_wrong(tmp_path, prompts, light_llama):
    source = GOOD + f"open({str(tmp_path / 'called')!r}, 'w').close()\n"
    written = function(tmp_path, source)
    assert checked(prompts, light_llama, rl_reward_fn=written, lora_r=0, peft=True).refused
    assert not (tmp_path / "called").exists()
    assert checked(prompts, light_llama, rl_reward_fn=written).findings == ()
    assert (tmp_path / "called").exists()


def test_the_document_on_stdout_stays_whole_when_a_function_prints(tmp_path, prompts, light_llama, capsys):
    written = function(tmp_path, "print('hello')\n" + GOOD.replace("    return", "    print('hi')\n    return"))
    words = f"llm --trainer grpo --model {light_llama} --data-path {prompts} --lr 1e-6 --epochs 1 --batch-size 4"
    assert main([*words.split(), "--rl-reward-fn", written, "--dry-run", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "ok"


def test_a_check_with_a_function_imports_no_torch(tmp_path, prompts, light_llama):
    code = (
        "import sys; from autotrain_llm import plan; "
        f"found = plan(trainer='grpo', model={str(light_llama)!r}, data_path={str(prompts)!r}, lr=1e-6, epochs=1, "
        f"batch_size=4, rl_reward_fn={function(tmp_path, GOOD)!r}); "
        "assert found.rollouts; print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


# ---- reward models


def test_a_reward_model_that_is_not_there_is_not_looked_for_on_the_hub(prompts, light_llama):
    finding = only(checked(prompts, light_llama, rl_reward_model_path="./no/such/run"), "M102")
    assert finding.parameters == ("rl_reward_model_path",) and "--rl-reward-model-path" in finding.message


def test_a_model_that_generates_is_no_judge(prompts, light_llama, light_teacher):
    assert "classifier" in only(checked(prompts, light_llama, rl_reward_model_path=str(light_teacher)), "M161").message


def test_a_score_head_of_two_labels_or_none_at_all_is_refused(tmp_path, prompts, light_llama):
    scorer = {"architectures": ["LlamaForSequenceClassification"]}
    two = build_light_model(tmp_path / "two", **scorer, id2label={"0": "a", "1": "b"})
    finding = only(checked(prompts, light_llama, rl_reward_model_path=str(two)), "M162")
    assert "2 labels" in finding.message


def test_the_second_of_two_reward_models_is_checked_too(prompts, light_llama, light_scorer, light_teacher):
    both = f"{light_scorer},{light_teacher}"
    assert str(light_teacher) in only(checked(prompts, light_llama, rl_reward_model_path=both), "M161").message


def test_conversations_want_a_reward_model_that_knows_turns(tmp_path, light_llama, light_scorer):
    rows = [{"prompt": [{"role": "user", "content": f"what is {n}"}]} for n in range(8)]
    data = write_rows(tmp_path / "chats.jsonl", rows)
    assert checked(data, light_llama, rl_reward_model_path=str(light_scorer)).findings == ()
    config = json.loads((light_scorer / "tokenizer_config.json").read_text())
    bare = build_light_model(
        tmp_path / "bare", architectures=["LlamaForSequenceClassification"], id2label={"0": "LABEL_0"}
    )
    (bare / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": None}))
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    finding = only(checked(data, light_llama, rl_reward_model_path=str(bare)), "M177")
    assert finding.severity == "warning" and str(bare) in finding.message


def scorer_that_reads(tokens: int, folder: Path) -> Path:
    shape = {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    return build_light_model(folder, max_position_embeddings=tokens, **shape)


def test_texts_that_a_reward_model_reads_without_their_start_are_counted(tmp_path, light_llama):
    rows = [{"prompt": f"what is it {n} " * (1 if n not in (3, 5) else 10)} for n in range(8)]
    data = write_rows(tmp_path / "mixed.jsonl", rows)
    small = scorer_that_reads(64, tmp_path / "small")
    tokens = len(Tokenizer.load(small).encode_batch([rows[3]["prompt"]], add_special_tokens=True)[0])
    assert 64 < tokens < 160
    finding = only(checked(data, light_llama, rl_reward_model_path=str(small), rl_max_new_tokens=32), "M178")
    assert "has a context of 64 tokens" in finding.message and "2 of 8 prompts" in finding.message
    assert "rows 4, 6" in finding.message and "2 are too long even without a completion" in finding.message
    assert (finding.severity, finding.row, finding.file) == ("warning", 4, str(data)) and not finding.changes
    large = scorer_that_reads(160, tmp_path / "large")
    long = only(checked(data, light_llama, rl_reward_model_path=str(large), rl_max_new_tokens=150), "M178")
    assert "even without" not in long.message and long.changes == {"rl_max_new_tokens": 160 - tokens}
    assert checked(data, light_llama, rl_reward_model_path=str(large), rl_max_new_tokens=160 - tokens).findings == ()


# ---- weights and lengths


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("1,2", "has 2 weights for 1 reward:"),
        ("much", "must be numbers"),
        ("nan", "must be numbers"),
        ("0", "all weights are zero, so every reward is zero"),
    ],
)
def test_weights_are_as_many_numbers_as_rewards(weights, said, tmp_path, prompts, light_llama):
    found = checked(prompts, light_llama, rl_reward_fn=function(tmp_path, GOOD), rl_reward_weights=weights)
    finding = only(found, "P732")
    assert said in finding.message and finding.fix.startswith("--rl-reward-weights 1")


def test_a_prompt_that_leaves_no_room_is_named_with_the_length_that_would(tmp_path, light_llama, prompts):
    small = build_light_model(tmp_path / "small", max_position_embeddings=64)
    rows = [{"prompt": f"{n} " + "what is it " * (1 if n else 12)} for n in range(8)]
    data = write_rows(tmp_path / "long.jsonl", rows)
    scored_by = function(tmp_path, GOOD)
    finding = only(checked(data, small, rl_reward_fn=scored_by, rl_max_new_tokens=56), "P734")
    assert (
        finding.row == 1
        and str(finding.file).endswith("long.jsonl")
        and str(finding.fix).startswith("--block-size 8, ")
    )
    assert checked(data, small, rl_reward_fn=scored_by, rl_max_new_tokens=56, block_size=8).plan is not None
    shorter = write_rows(tmp_path / "shorter.jsonl", [{"prompt": "what is it " * 3}, {"prompt": "what is it"}])
    near = only(checked(shorter, small, rl_reward_fn=scored_by, rl_max_new_tokens=40), "P734")
    assert "or --block-size 24, which truncates longer prompts at their start" in str(near.fix)
    assert checked(shorter, small, rl_reward_fn=scored_by, **dict(near.changes)).plan is not None
    whole = only(checked(prompts, small, rl_reward_fn=scored_by, rl_max_new_tokens=64), "P734")
    assert "no room for a prompt" in whole.message


def test_a_new_model_is_made_long_enough_for_prompt_and_answer(tmp_path, prompts):
    found = checked(prompts, Path("scratch:1m"), rl_reward_fn=function(tmp_path, GOOD), rl_max_new_tokens=700, lr=1e-3)
    assert found.plan is not None and found.plan.model.shape["max_position_embeddings"] == 1024 + 700


def test_cutting_the_distribution_is_a_warning_and_temperature_none(tmp_path, prompts, light_llama):
    scored_by = function(tmp_path, GOOD)
    found = checked(prompts, light_llama, rl_reward_fn=scored_by, rl_top_k=20, rl_top_p=0.9)
    finding = only(found, "P733")
    assert finding.severity == "warning" and finding.parameters == ("rl_top_k", "rl_top_p") and not found.refused
    assert checked(prompts, light_llama, rl_reward_fn=scored_by, rl_temperature=0.7).findings == ()


# ---- vLLM


def test_vllm_is_refused_where_it_or_a_gpu_is_missing(tmp_path, prompts, light_llama, monkeypatch):
    monkeypatch.setattr(Machine, "gpus", ())
    monkeypatch.setattr(Machine, "has_package", lambda self, name: False)
    flags = {"rl_reward_fn": function(tmp_path, GOOD), "rl_generation": "vllm"}
    found = checked(prompts, light_llama, **flags)
    assert [finding.code for finding in found.findings] == ["E510", "E510"]
    assert any("pip install 'vllm==0.30.*'" in str(finding.fix) for finding in found.findings)
    monkeypatch.setattr(Machine, "gpus", (Gpu("H200", 140 * 2**30, 9.0),))
    monkeypatch.setattr(Machine, "has_package", lambda self, name: True)
    assert checked(prompts, light_llama, **flags).findings == ()
    packed = checked(prompts, light_llama, **flags, quantization="int4", peft=True).findings
    assert [finding.fix for finding in packed if finding.code == "E510"] == [
        "--rl-generation native, or remove --quantization"
    ]


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("0.10.2", "vllm 0.10.2 is installed, and 0.11 or later is needed to update its weights"),
        ("0.9.0rc1", "vllm 0.9.0rc1 is installed"),
        ("0.11.2+cpu", "0.11.2+cpu, is not built for CUDA"),
        ("0.12.0.dev5+g1a2b3c.rocm64", "not built for CUDA"),
        ("0.11.0", None),
        ("0.12.0.dev5+g1a2b3c.cu129", None),
        ("1.0.0+precompiled", None),
        (None, None),
    ],
)
def test_an_old_vllm_or_one_for_another_device_is_refused(version, said, tmp_path, prompts, light_llama, monkeypatch):
    monkeypatch.setattr(Machine, "gpus", (Gpu("H200", 140 * 2**30, 9.0),))
    monkeypatch.setattr(Machine, "has_package", lambda self, name: True)
    monkeypatch.setattr(Machine, "version_of", lambda self, name: version)
    found = checked(prompts, light_llama, rl_reward_fn=function(tmp_path, GOOD), rl_generation="vllm")
    if said is None:
        assert found.findings == ()
        return
    finding = only(found, "E510")
    assert said in finding.message and dict(finding.changes) == {"rl_generation": "native"}
    assert "pip install 'vllm==0.30.*'" in str(finding.fix)


def test_versions_are_those_of_the_metadata():
    assert Machine().version_of("numpy") == np.__version__ and Machine().version_of("no-such-package-at-all") is None


# ---- how many are written at once


def test_as_many_answers_are_written_together_as_memory_holds(tmp_path, prompts, light_llama, monkeypatch):
    flags = {"rl_reward_fn": function(tmp_path, GOOD), "rl_max_new_tokens": 100}
    most = checked(prompts, light_llama, **flags).plan.rollouts.sampling.batch
    monkeypatch.setattr(Machine, "device_memory", 2 * 2**20)
    fewer = checked(prompts, light_llama, **flags).plan
    assert most == 256
    longest = fewer.data.tokens.max + 100
    # keys and values in four bytes, one layer, one head of eight
    assert fewer.rollouts.sampling.batch == int(0.1 * 2 * 2**20 / (2 * 4 * 1 * 1 * 8 * longest))


@pytest.mark.parametrize(
    ("source", "is_blind"),
    [
        ("def score(completions, **k): return [1.0] * len(completions)", True),
        ("def score(prompts, completions): return [float(len(prompt)) for prompt, _ in zip(prompts, range(len(completions)))]", True),
        ("def score(prompts): return [0.0 for _ in prompts]", True),
        ("def score(completions, **k):\n    total = []\n    for _ in completions: total.append(1.0)\n    return total", True),
        ("def score(completions, **k): return [float(len(text)) for text in completions]", False),
        ("def score(completions, **k): return judge(completions)", False),
        ("def score(**given): return [1.0] * len(given['completions'])", False),
        ("@scored\ndef score(completions): return [1.0] * len(completions)", False),
        ("score = lambda completions: [1.0] * len(completions)", False),
    ],
)  # fmt: skip
def test_a_reward_function_that_looks_at_no_answer_is_known_from_its_source(
    source: str, is_blind: bool, tmp_path: Path
) -> None:
    file = tmp_path / "score.py"
    file.write_text(source)
    assert ignores_completions(find_function(f"{file}:score", "rl_reward_fn")) is is_blind
