"""Every page of docs/rules.md: the files and commands that stand there, of which one draws the finding and the other does not."""

from __future__ import annotations

import fcntl
import itertools
import json
import re
import shlex
import shutil
import stat
import subprocess
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.checks.rules.every import every_rule
from autotrain_llm.cli.main import main
from autotrain_llm.cli.parser import read
from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.example import Example, typed
from autotrain_llm.declare.finding import typed as typed_flag
from support.paths import PROJECT

EXAMPLES = {code: rule.example for code, rule in every_rule().items() if rule.example}
MODELS = {"MODEL": "light_llama", "TEACHER": "light_teacher", "SCORER": "light_scorer", "ENCODER": "light_encoder"}
GPU = "{}, GPU-{}, {}, 81920, {}\n"


def test_every_finding_shows_two_commands():
    rules = every_rule().values()
    flags_alone = {rule.code for rule in rules if rule.refuses and rule.accepts}
    assert sorted({rule.code for rule in rules} - flags_alone - set(EXAMPLES)) == [], "give it refuses and accepts"
    assert flags_alone & set(EXAMPLES) == set(), "two pairs for one code"
    not_flags = {rule.code for rule in rules if rule.code in flags_alone and not rule.needs <= {"config", "trainer"}}
    assert sorted(not_flags) == [], "what a rule reads besides flags has to be made: give it an example"


# ---- what can't be made with a command: a stand-in for the fact, at the place where the program looks it up


def has_no(package: str) -> Callable[[pytest.MonkeyPatch], None]:
    there = Machine.has_package
    return lambda patch: patch.setattr(Machine, "has_package", lambda self, name: name != package and there(self, name))


def has(package: str) -> Callable[[pytest.MonkeyPatch], None]:
    there = Machine.has_package
    return lambda patch: patch.setattr(Machine, "has_package", lambda self, name: name == package or there(self, name))


def has_gpus(*gpus: tuple[str, float]) -> Callable[[pytest.MonkeyPatch], None]:
    """A driver that answers so."""

    def stand_in(patch: pytest.MonkeyPatch) -> None:
        answer = "".join(GPU.format(number, number, *gpu) for number, gpu in enumerate(gpus))
        program = Path("driver/nvidia-smi")
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}END\n")
        program.chmod(program.stat().st_mode | stat.S_IEXEC)
        patch.setenv("PATH", f"{program.parent.resolve()}:/usr/bin:/bin")
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return stand_in


def the_hub_answers(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    def stand_in(patch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import HfApi, constants, errors

        http = import_module(errors.HTTPError.__module__.partition(".")[0])
        response = http.Response(404, request=http.Request("GET", "https://huggingface.co"))

        def model_info(self: HfApi, name_: str, revision: str | None = None) -> None:
            raise getattr(errors, name)("no", response=response)

        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(HfApi, "model_info", model_info)

    return stand_in


def another_process_writes(patch: pytest.MonkeyPatch) -> None:
    lock = Path("runs/mine/.lock")
    lock.parent.mkdir(parents=True)
    file = lock.open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    patch.setattr(pytest, "held", file, raising=False)  # until the test is over


def the_disk_is_full(patch: pytest.MonkeyPatch) -> None:
    usage = type(shutil.disk_usage("/"))
    patch.setattr(shutil, "disk_usage", lambda path: usage(1 << 30, 1 << 30, 100))


def something_fails(patch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("nobody foresaw this")

    patch.setattr("autotrain_llm.api.carry_out", fail)


WHERE = {
    "on a machine with one GPU": has_gpus(("NVIDIA H200", 9.0)),
    "on a machine with two GPUs": has_gpus(("NVIDIA H200", 9.0), ("NVIDIA H200", 9.0)),
    "on a machine with a Tesla T4": has_gpus(("Tesla T4", 7.5)),
    "where wandb is installed": has("wandb"),
    "where wandb is not installed": has_no("wandb"),
    "where starlette is not installed": has_no("starlette"),
    "where bitsandbytes is not installed": has_no("bitsandbytes"),
    "where schedulefree is not installed": has_no("schedulefree"),
    "where gguf is not installed": has_no("gguf"),
    "where sacrebleu is not installed": has_no("sacrebleu"),
    "where lm-evaluation-harness is not installed": has_no("lm_eval"),
    "where org/model is gated on the Hub": the_hub_answers("GatedRepoError"),
    "where the Hub has no org/model": the_hub_answers("RepositoryNotFoundError"),
    "while another process writes to runs/mine": another_process_writes,
    "where something fails that nobody foresaw": something_fails,
    "where the disk is full": the_disk_is_full,
}


# Findings whose state takes more than a stand-in, such as another architecture: other tests make it.
ELSEWHERE = {code for code, example in EXAMPLES.items() if not {example.on, example.on_right} <= {"", *WHERE}}


@pytest.mark.parametrize("code", sorted(ELSEWHERE))
def test_a_state_that_is_not_made_here_is_made_in_another_test(code):
    tests = (path for path in (PROJECT / "tests").rglob("test_*.py") if path != Path(__file__))
    assert any(code in path.read_text(encoding="utf-8") for path in tests), f"no test makes {EXAMPLES[code].on!r}"


# ---- the two commands of each page


def carried_out(
    line: str, runs: bool, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict]:
    """The status and the document of a line as it is typed."""
    words = shlex.split(line)
    with patch.context() as surroundings:
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            surroundings.setenv(name, value)
        if words[0] == "torchrun":
            surroundings.setenv("WORLD_SIZE", words[words.index("--nproc-per-node") + 1])
            surroundings.setenv("LOCAL_WORLD_SIZE", words[words.index("--nproc-per-node") + 1])
            for name, value in {"RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}.items():
                surroundings.setenv(name, value)
            words = words[words.index("autotrain_llm") :]
        checked = words[1] == "llm" and not runs and "--dry-run" not in words
        status = main([*words[1:], *(["--dry-run"] if checked else []), "--format", "json"])
    return status, json.loads(capsys.readouterr().out)


def prepare(lines: str, runs: bool, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What comes before a command, by a shell or by the program itself, in its order."""
    for is_ours, group in itertools.groupby(lines.split("\n"), lambda line: line.startswith("autotrain ")):
        if is_ours:
            for line in group:
                status, document = carried_out(line, runs, patch, capsys)
                assert status == 0, document["findings"]
        elif script := "\n".join(group).strip():
            subprocess.run(["/bin/sh", "-euc", script], check=True)


@pytest.mark.parametrize("code", EXAMPLES)
@pytest.mark.parametrize("which", ["refuses", "accepts"])
def test_the_command_of_a_page_draws_its_finding_and_the_other_does_not(
    code, which, tmp_path, monkeypatch, capsys, request
):
    """And a fix that can be typed, typed in its place, ends the finding with a run that is no worse."""
    example: Example = EXAMPLES[code]
    if code in ELSEWHERE:
        pytest.skip("its state is made in a test of its own")
    refuses = which == "refuses"
    command, content = (example.refuses, example.rows) if refuses else (example.accepts, example.good)
    lines = "\n".join((example.before, example.wrong if refuses else example.right))
    (tmp_path / example.name).write_bytes(content.encode(example.encoding))
    for name, fixture in MODELS.items():
        if name in command + lines + content:
            shutil.copytree(request.getfixturevalue(fixture), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    prepare(lines, example.runs, monkeypatch, capsys)
    place = example.on if refuses else example.on_right
    if place:
        WHERE[place](monkeypatch)
    status, document = carried_out(typed(command), example.runs, monkeypatch, capsys)
    found = document.get("findings", [])
    assert (code in [finding["code"] for finding in found]) == refuses, found
    if code.startswith("R"):
        assert status == (1 if refuses else 0)
        return
    assert status == (2 if any(finding["severity"] == "error" for finding in found) else 0), found
    severities = {finding["severity"] for finding in found if finding["code"] == code}
    assert not refuses or every_rule()[code].severity in severities, f"its page says {every_rule()[code].severity}"
    for finding in found:
        if refuses and finding["code"] == code and " llm " in typed(command):
            assert_fixes_are_no_worse(typed(command), document, finding, monkeypatch, capsys)


def assert_fixes_are_no_worse(
    line: str, before: dict, finding: dict, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each fix of a finding that is a command, typed: the finding is gone, there is no new error, and as much of each row is trained on."""
    start, _, flags = line.partition(" llm ")
    given = read(shlex.split(flags)).values
    applied = {*finding.get("changes", ())}
    assert applied & {*given} <= {*finding["parameters"]}, (
        f"--fix changes a flag that the finding does not name: {applied}"
    )
    for changes in typeable_fixes(finding):
        values = {name: value for name, value in {**given, **changes}.items() if value is not None}
        words = " ".join(typed_flag(name, value) for name, value in values.items() if name not in ("fix", "dry_run"))
        _, after = carried_out(f"{start} llm {words}", False, patch, capsys)
        left = after["findings"]
        assert (finding["code"], finding["message"]) not in [(one["code"], one["message"]) for one in left], words
        if "trainer" not in changes:  # another trainer needs other rows
            assert errors(after) <= errors(before), (words, left)
        if before.get("plan") and after.get("plan"):
            one, other = before["plan"]["data"], after["plan"]["data"]
            assert other["rows"] >= one["rows"] and other["dropped_rows"] <= one["dropped_rows"], (words, one, other)
            if "truncates" in finding["fix"]:
                continue
            assert other["truncated_rows"] <= one["truncated_rows"], (words, one, other)
            if not {"chat_template", "tokenizer"} & {*changes}:
                assert other["total_tokens"] >= one["total_tokens"], (words, one, other)


def errors(document: dict) -> set[str]:
    return {finding["code"] for finding in document["findings"] if finding["severity"] == "error"}


def typeable_fixes(finding: dict) -> list[dict[str, Any]]:
    """The changes of each alternative of a fix that is made of flags and values alone."""
    fixes = [finding["changes"]] if finding.get("changes") else []
    for text in re.split(r", or |; or | or (?=--)", "" if fixes else finding["fix"] or ""):
        try:
            words = shlex.split(text.partition(", ")[0])
        except ValueError:
            continue
        arguments = read(words)
        placeholders = any(word in ("…", "N", "FILE", "PATH") or word.startswith("<") for word in words)
        whole = not text.partition(", ")[2].startswith("without")
        if words and words[0].startswith("--") and not arguments.findings and not placeholders and whole:
            fixes.append(arguments.values)
    return fixes


def test_every_page_shows_its_commands():
    page = (PROJECT / "docs/rules.md").read_text(encoding="utf-8")
    for section in page.split("\n## ")[1:]:
        assert "autotrain" in section.partition("# triggers it")[2].partition("# does not")[0], section[:40]
        assert "autotrain" in section.partition("# does not")[2], section[:40]
