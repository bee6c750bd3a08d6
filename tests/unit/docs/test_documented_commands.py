"""Every command that the documents show passes its checks, with local models in place of Hub ids and of runs, and local rows in place of those that
a page doesn't make."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from autotrain_llm import check
from autotrain_llm.cli.main import main
from autotrain_llm.config.registry import TRAINERS
from support.model_files import ADAPTED, write_adapter
from support.pages import PAGES, Page
from support.paths import PROJECT
from support.rows import COLOURS, questions

# Commands of the guide that show what a fault is answered with.
SHOWING_A_FAULT = {
    "autotrain llm --trainer sft --dpo-beta 0.1": {"P101", "P201"},
    "autotrain llm --trainer ppo --use-distillation": {"P112", "P201"},
}
CONFIG = "trainer: sft\nmodel: m\ndata_path: rows.jsonl\nlr: 1e-5\nepochs: 1\nbatch_size: 4\n"
ANSWERED_AT_ONCE = ("--help", "-h", "--explain", "--version")
MODEL_FLAGS = ("--model", "--model-ref", "--teacher-model", "--rl-reward-model-path", "--tokenizer")
DATA_FLAGS = ("--data-path", "--eval-dataset-path")


COMMANDS = [(page, command) for page in PAGES for command in page.of("llm ") if command not in SHOWING_A_FAULT]
OTHER_COMMANDS = [
    (page, command)
    for page in PAGES
    for command in page.of("chat", "export", "prepare", "check", "presets", "completion", "app", "--")
]


def identify(value: Page | str) -> str:
    return value.name if isinstance(value, Page) else "-".join(value.split()[1:5])


@pytest.fixture(autouse=True)
def an_encoder_for_bertscore(light_encoder, monkeypatch):
    """A local one in place of the Hub's that is taken where none is named."""
    monkeypatch.setattr("autotrain_llm.planning.evaluation.ENCODER", str(light_encoder))


class Local:
    """Writes what a command needs into a folder of its own, and gives the command back with these in place."""

    def __init__(self, folder: Path, models: dict[str, Path]) -> None:
        self.folder, self.models = folder, models

    def words(self, command: str) -> list[str]:
        words = shlex.split(command, comments=True)[2:]
        values = {flag: words[at + 1] for at, flag in enumerate(words[:-1]) if flag.startswith("--")}
        for at, flag in enumerate(words[:-1]):
            if flag in MODEL_FLAGS:
                words[at + 1] = self.model(flag, words[at + 1])
            elif flag in DATA_FLAGS:
                words[at + 1] = str(self.rows(values, words[at + 1], flag))
            elif flag == "--rl-reward-fn":
                words[at + 1] = self.function(words[at + 1])
            elif flag == "--config" and not Path(words[at + 1]).exists():
                words[at + 1] = str(PROJECT / words[at + 1])
        return words

    def model(self, flag: str, name: str) -> str:
        """A local model of the kind that stands behind the name."""
        if name.startswith("scratch:"):
            return name
        if "bert" in name:
            return str(self.models["encoder"])
        kinds = {"--teacher-model": "teacher", "--rl-reward-model-path": "scorer"}
        return str(self.called(self.models[kinds.get(flag, "llama")], name))

    def called(self, model: Path, name: str) -> Path:
        """The model, in a folder of the name that the command has for it: a reward is weighted by the name of its model."""
        link = self.folder / "models" / model.name / Path(name).name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(model)
        return link

    def function(self, name: str) -> str:
        """A file of that name with the function."""
        file, function = name.split(":")
        if Path(file).exists():  # the page shows it
            return name
        path = self.folder / Path(file).name
        path.write_text(
            f"def {function}(prompts, completions, **columns):\n    return [float(len(text)) for text in completions]\n"
        )
        return f"{path}:{function}"

    def rows(self, values: dict[str, str], name: str, flag: str) -> Path:
        """A file of that name with the rows that the trainer and the column flags ask for, unless the page makes one."""
        if Path(name).exists():
            return Path(name)
        path = self.folder / flag.strip("-") / Path(name).name
        path.parent.mkdir(exist_ok=True)
        shape = TRAINERS[values.get("--trainer", "generic")].rows
        rows = ROWS[shape](values, 40 if flag == "--data-path" else 8)
        if path.suffix == ".txt":
            path.write_text("\n".join(str(row["text"]) for row in rows))
        elif path.suffix == ".json":
            path.write_text(json.dumps(rows))
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path


def texts(values: dict[str, str], count: int) -> list[dict[str, object]]:
    column = values.get("--text-column", "text")
    return [
        {column: f"Text {count}-{n}: the {COLOURS[n % 8]} one is before the {COLOURS[n % 5]} one."}
        for n in range(count)
    ]


def conversations(values: dict[str, str], count: int) -> list[dict[str, object]]:
    rows = questions(64)
    return rows[:count] if count > 8 else rows[-count:]


def pairs(values: dict[str, str], count: int) -> list[dict[str, object]]:
    """Pairs with a prompt; where only the answers are named, they are conversations that begin with the same turn."""
    prompt = values.get("--prompt-text-column", "prompt")
    chosen, rejected = values.get("--text-column", "chosen"), values.get("--rejected-text-column", "rejected")
    if "--rejected-text-column" in values and "--prompt-text-column" not in values:

        def turns(number: int, answer: str) -> list[dict[str, str]]:
            question = {"role": "user", "content": f"Which colour is number {number}?"}
            return [question, {"role": "assistant", "content": answer}]

        return [
            {chosen: turns(n, f"It is {COLOURS[n % 8]}."), rejected: turns(n, f"It is no number {n}.")}
            for n in range(count)
        ]
    return [
        {prompt: f"Which colour is number {n}?", chosen: f"It is {COLOURS[n % 8]}.", rejected: f"It is no number {n}."}
        for n in range(count)
    ]


def prompts(values: dict[str, str], count: int) -> list[dict[str, object]]:
    return [{values.get("--text-column", "prompt"): f"Which colour is number {n}?"} for n in range(count)]


ROWS = {"documents": texts, "conversations": conversations, "preferences": pairs, "scored": pairs, "prompts": prompts}


@pytest.fixture
def adapter(tmp_path, light_llama) -> Path:
    """An adapter of the light Llama, which is 16 wide."""
    return write_adapter(tmp_path / "adapter", light_llama, {ADAPTED: (2, 16)}, r=2)


@pytest.fixture
def local(tmp_path, monkeypatch, light_llama, light_teacher, light_scorer, light_encoder) -> Local:
    monkeypatch.chdir(tmp_path)
    models = {"llama": light_llama, "teacher": light_teacher, "scorer": light_scorer, "encoder": light_encoder}
    return Local(tmp_path, models)


def dry_run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict]]:
    """Exit status and findings of a command that checks everything and trains nothing."""
    if "--inference" in words:
        flags = {
            word.removeprefix("--"): value
            for word, value in zip(words, [*words[1:], ""], strict=True)
            if word[:2] == "--"
        }
        findings = check(**{**flags, "inference": True})
        return 2 if findings else 0, [finding.as_json() for finding in findings]
    status = main(["llm", *words, "--dry-run", "--format", "json"])
    return status, json.loads(capsys.readouterr().out)["findings"]


def test_there_are_commands_in_the_documents_that_show_some():
    shown = {page.name for page, _ in COMMANDS}
    assert {"README.md", "PARAMETER_GUIDE.md", "examples/tictactoe/README.md", "docs/tutorial.md"} <= shown
    assert {f"docs/trainers/{trainer}.md" for trainer in TRAINERS} <= shown
    assert "docs/inference.md" in {page.name for page, _ in OTHER_COMMANDS}


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=identify)
def test_a_documented_command_passes_its_checks(page, command, local, capsys):
    if page.scripts:
        page.prepare(local.folder)
    words = local.words(command)
    if any(flag in words for flag in ANSWERED_AT_ONCE):
        assert main(["llm", *words]) == 0
        return
    status, findings = dry_run(words, capsys)
    # M180: the steps of a preset are larger than the few rows here.
    there = [finding for finding in findings if finding["code"] != "M180"]
    assert there == [] and status == 0


@pytest.mark.parametrize(("page", "command"), OTHER_COMMANDS, ids=identify)
def test_a_documented_command_beside_llm_passes_its_checks(page, command, local, adapter, capsys):
    if page.scripts:
        page.prepare(local.folder)
    name, *words = shlex.split(command, comments=True)[1:]
    if name in ("chat", "export"):
        of_adapter = "adapter" in words
        words[0] = str(adapter) if of_adapter else local.model("--model", words[0])
        words = [word if before != "--against" else words[0] for before, word in zip(["", *words], words, strict=False)]
        words += ["--dry-run", *(["--output-dir", "made"] if name == "export" else [])]
    elif name == "app":
        words += ["--dry-run"]
    elif name == "prepare":
        words = [*local.words(f"autotrain prepare {shlex.join(words)}"), "--dry-run"]
    elif name == "check":
        (local.folder / "configs").mkdir()
        (local.folder / "configs" / "run.yaml").write_text(CONFIG)
        words = [word.replace("*", "run") for word in words[: words.index(">") if ">" in words else None]]
        words += [] if "--flags-only" in words else ["--flags-only"]
    assert main([name, *words]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("command", SHOWING_A_FAULT)
def test_a_command_that_shows_a_fault_is_answered_with_it(command, capsys):
    status, findings = dry_run(shlex.split(command)[2:], capsys)
    assert status == 2 and {finding["code"] for finding in findings} == SHOWING_A_FAULT[command]


def test_a_teacher_behind_a_service_gets_its_own_finding(local, capsys):
    command = "autotrain llm --trainer sft --model m --data-path ./data/train.jsonl --lr 2e-5 --epochs 3 --batch-size 4"
    words = [*local.words(command), "--use-distillation", "--teacher-model", "gpt-4"]
    status, findings = dry_run(words, capsys)
    assert status == 2 and {finding["code"] for finding in findings} - {"P113"} <= {"P502", "M105"}
    (told,) = [finding for finding in findings if finding["code"] != "P113"]
    assert "weights are needed" in told["message"] and told["parameters"] == ["teacher_model"]
    assert findings[-1]["severity"] == "error"


@pytest.mark.parametrize("trainer", TRAINERS.values(), ids=lambda trainer: trainer.name)
def test_the_examples_of_a_trainer_pass_its_checks(trainer, local, capsys):
    for example in trainer.examples:
        command = f"autotrain llm --trainer {example.trainer or trainer.name} {example.flags}"
        _, findings = dry_run(local.words(command), capsys)
        assert [finding for finding in findings if finding["code"] != "P113"] == []


def test_the_fix_that_is_offered_is_a_command_that_passes(local, capsys):
    """What P201 says to type, typed: with rows and a model of these names, nothing is missing."""
    for trainer in TRAINERS.values():
        _, findings = dry_run(["--trainer", trainer.name], capsys)
        fix = next(finding["fix"] for finding in findings if finding["code"] == "P201")
        _, findings = dry_run(local.words(f"autotrain llm --trainer {trainer.name} {fix}"), capsys)
        assert [finding for finding in findings if finding["code"] != "P113"] == []
