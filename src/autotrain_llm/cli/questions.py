"""`--interactive`: asks for what a command lacks, one question at a time, and shows the plan, the command and a config before it starts.

Each answer is checked at once by the rules of preflight, on the first rows of the data. `back` goes to the question before. Nothing here
loads torch.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.checks.autofix import config_text, typed_flags, write_or_refuse
from autotrain_llm.checks.entry import check_arguments
from autotrain_llm.checks.preflight import Checked, is_about_missing, missing_parameters, preflight
from autotrain_llm.cli.outcome import show_checked
from autotrain_llm.cli.parser import read
from autotrain_llm.cli.preparing import Preparing
from autotrain_llm.cli.prompts import Back, Choice, Dialogue
from autotrain_llm.cli.render import findings_text
from autotrain_llm.cli.terminal import command_to, is_terminal, styled, wants_colour
from autotrain_llm.config.arguments import ParsedArguments
from autotrain_llm.config.layers import Layer
from autotrain_llm.config.registry import PARAMS, TRAINERS
from autotrain_llm.config.resolved import COMMAND_LINE, CONFIG_FILE, Config, resolve_layers
from autotrain_llm.config.search_space import usual_value
from autotrain_llm.data.files.read import ROW_ENDINGS
from autotrain_llm.declare.finding import ERROR, Finding, Refused, refuses
from autotrain_llm.declare.param import Param, flag_of
from autotrain_llm.declare.text import plain, without_point
from autotrain_llm.declare.trainer import Trainer

if TYPE_CHECKING:
    from autotrain_llm.cli.screen import Screen
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.data.load.suited import SuitedTrainers

FIRST_ROWS = 100  # that answers are checked with
OFFERED = 9  # files or runs that are listed
CONFIG_ENDINGS = (".yaml", ".yml")
NEEDS = {
    "documents": "texts",
    "conversations": "conversations, prompts with answers, or texts",
    "preferences": "pairs of a chosen and a rejected answer to a prompt",
    "graded": "answers with several scores each, or with a class",
    "scored": "pairs of a chosen and a rejected answer to a prompt",
    "prompts": "prompts, and a reward model or function",
}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("all weights are trained; takes the most memory", {"peft": False}),
    "lora": ("an adapter is trained; takes a fraction of the memory", {"peft": True}),
    "qlora": (
        "an adapter on weights of 4 bits; the least memory, on a CUDA GPU",
        {"peft": True, "quantization": "int4"},
    ),
}
NEW_MODEL = Choice("scratch:1m", "a new small model, to try things out")
Answer = dict[str, Any]


def ask(arguments: ParsedArguments, from_file: ParsedArguments, screen: Screen) -> Checked | None:
    """Complete the arguments by the user's answers and check the command; None if the user decides not to start.

    Raises Refused without a terminal.
    """
    if not is_terminal(sys.stdin):
        fix = "leave --interactive out and give the flags, or run it in a terminal"
        raise Refused(
            [Finding("--interactive needs a terminal: standard input is not one", fix, ("interactive",), code="P123")]
        )
    return Interview(arguments, from_file, screen).run()


class Interview:
    """The questions of one command: what was given, and each answer after another."""

    def __init__(self, arguments: ParsedArguments, from_file: ParsedArguments, screen: Screen) -> None:
        self.arguments, self.from_file, self.screen = arguments, from_file, screen
        self.dialogue = Dialogue(screen)
        self.answers: list[Answer] = []
        self.earlier: Answer = {}  # answers that were taken back, which are offered again
        self.suited: SuitedTrainers | None = None
        self._context: RunContext | None = None

    def run(self) -> Checked | None:
        """Ask until nothing is missing, then show the plan; None if nothing is to be started."""
        self.dialogue.tell(
            "Answer with a number or a name; Enter takes what is in brackets, and `back` or `<` goes back."
        )
        while True:
            question = self._next_question()
            try:
                if question is None:
                    return self._finish()
                self.answers.append(question())
            except Back:
                self._go_back()

    def _go_back(self) -> None:
        if not self.answers:
            self.dialogue.tell("This is the first question.")
            return
        taken_back = self.answers.pop()
        self.earlier |= taken_back

    # ---- which question is next

    def _next_question(self) -> Callable[[], Answer] | None:
        config = self._config()
        if config.data_path is None and config.data_config is None:
            return self._ask_data
        if not config.given("trainer"):
            return self._ask_trainer
        if config.model is None:
            return self._ask_model
        if self._method_is_open(config):
            return self._ask_method
        missing = missing_parameters(self._checked(config).findings)
        return (lambda: self._ask_value(PARAMS[missing[0]])) if missing else None

    def _method_is_open(self, config: Config) -> bool:
        decided = any(config.given(name) for name in ("peft", "quantization", "lr"))
        return config.applies("peft") and not decided and not str(config.model).startswith("scratch:")

    # ---- the questions

    def _ask_data(self) -> Answer:
        self.dialogue.heading("Data")
        self.dialogue.tell(PARAMS["data_path"].help)
        files = [Choice(name) for name in _data_files()]
        self.dialogue.choices(files)
        while True:
            answer = self._read_value(PARAMS["data_path"], files)
            if answer is not None and self._rows_are_known(answer) and self._accept(answer):
                return answer

    def _rows_are_known(self, answer: Answer) -> bool:
        """Say what the rows are, where the trainer is not decided; False, with the findings, if no trainer can read them."""
        config = self._config(answer)
        if config.given("trainer"):
            return True
        try:
            self.suited = _suited(config)
        except Refused as refused:
            self._show(refused.findings)
            return False
        *others, last = self.suited.trainers
        names = f"{', '.join(others)} or {last}" if others else last
        self.dialogue.tell(f"These are {self.suited.rows}: {names}.")
        return True

    def _ask_trainer(self) -> Answer:
        self.dialogue.heading("Trainer")
        choices = [Choice(trainer.name, f"{trainer.summary} Needs {needs(trainer)}.") for trainer in TRAINERS.values()]
        self.dialogue.choices(choices)
        self._look_at_the_rows()
        usual = self.suited.trainers[0] if self.suited else PARAMS["trainer"].default
        while True:
            answer = self._read_value(PARAMS["trainer"], choices, usual)
            if answer is not None and self._accept(answer):
                trainer = TRAINERS[answer["trainer"]]
                self.dialogue.tell(f"{trainer.purpose} It needs {needs(trainer)}.")
                return answer

    def _ask_model(self) -> Answer:
        self.dialogue.heading("Model")
        self.dialogue.tell(PARAMS["model"].help)
        choices = [*(Choice(name, "an earlier run") for name in _runs()), NEW_MODEL]
        self.dialogue.choices(choices)
        while True:
            answer = self._read_value(PARAMS["model"], choices)
            if answer is not None and self._accept(answer):
                return answer

    def _ask_method(self) -> Answer:
        self.dialogue.heading("Method")
        usual = self._config().trainer_spec.usual["lr"]
        rates = {name: usual.value(lora=name != "full") for name in METHODS}
        choices = [
            Choice(name, f"{text} (usual learning rate {plain(rates[name])})") for name, (text, _) in METHODS.items()
        ]
        self.dialogue.choices(choices)
        while True:
            name = self.dialogue.read_choice("Method", choices, "full").lower()
            if name not in METHODS:
                self.dialogue.tell(f"there is no method {name!r}; there are {', '.join(METHODS)}")
            elif self._accept(METHODS[name][1]):
                return dict(METHODS[name][1])

    def _ask_value(self, param: Param) -> Answer:
        """Ask for a required parameter, offering the column that was recognised or the trainer's usual value."""
        config = self._config()
        usual = usual_value(config, param.name)
        self.dialogue.heading()
        others = [PARAMS[name] for name in _alternatives(config, param.name)]
        self.dialogue.tell(param.help)
        for other in others:
            self.dialogue.tell(f"Or {other.flag} with a value: {other.help}")
        choices = [Choice(name) for name in self._columns(param)] or [Choice(name) for name in param.choices]
        self.dialogue.choices(choices)
        offered = self._column_of(param) or (None if usual is None else plain(usual))
        while True:
            answer = self._read_value(param, choices, offered)
            if answer is not None and self._accept(answer):
                return answer

    # ---- an answer

    def _read_value(self, param: Param, choices: Sequence[Choice] = (), offered: str | None = None) -> Answer | None:
        """The converted answer; None, with what is wrong, if it has the wrong type. An answer that begins with `--` is read as flags."""
        again = self.earlier.get(param.name)
        offered = plain(again) if again is not None else offered
        text = self.dialogue.read_choice(param.flag, choices, offered)
        if not text:
            self.dialogue.tell("An answer is needed here; `back` goes to the question before.")
            return None
        if text.startswith("--"):
            return self._flags(text)
        parsed = ParsedArguments(trainer=self._config().trainer)
        parsed.set(param.name, text)
        self._show(parsed.findings)
        return dict(parsed.values) if param.name in parsed.values else None

    def _flags(self, text: str) -> Answer | None:
        """The values of flags that were typed; None, with the findings, if they can't be read."""
        try:
            words = shlex.split(text.removeprefix("autotrain llm "))
        except ValueError as fault:
            self.dialogue.tell(f"That can't be read: {fault}")
            return None
        parsed = read(words, self._config().trainer)
        self._show(parsed.findings)
        return None if refuses(parsed.findings) else dict(parsed.values) or None

    def _accept(self, answer: Answer) -> bool:
        """Whether an answer is valid beside those before it. What the rules say of it is shown; where that is about an earlier answer, the user
        decides."""
        before, config = self._config(), self._config(answer)
        if not config.given("trainer"):
            return True
        known = set(self._checked(before).findings) if before.given("trainer") else set()
        found = [finding for finding in self._checked(config).findings if not is_about_missing(finding)]
        new = [finding for finding in found if finding not in known]
        self._show(new)
        errors = [finding for finding in new if finding.severity == ERROR]
        if not errors or any(answer.keys() & {*finding.parameters} for finding in errors):
            return not errors
        names = dict.fromkeys(flag_of(name) for finding in errors for name in finding.parameters)
        about = f"That is about {', '.join(names)}, which can be changed at the end. " if names else ""
        return self.dialogue.confirm(f"{about}Keep this answer?", default=False)

    def _show(self, findings: Sequence[Finding]) -> None:
        self.screen.write(findings_text(findings, self.screen.err))

    # ---- the command so far

    def _values(self, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
        values = dict(self.arguments.values)
        for answer in (*self.answers, more or {}):
            values |= answer
        return values

    def _config(self, more: Mapping[str, Any] | None = None) -> Config:
        """The configuration so far, as for a dry run over the first rows."""
        values = {**self._values(more), "dry_run": True, "check_rows": FIRST_ROWS}
        layers = {COMMAND_LINE: Layer(values, self.arguments.origins), CONFIG_FILE: self.from_file.layer}
        return resolve_layers(layers, self.arguments.values.get("config"))

    def _checked(self, config: Config) -> Checked:
        """Preflight of an unfinished command. What the check before it has read is reused, unless an error was found, which would not be found
        again."""
        with Preparing(self.screen) as preparing:
            checked = preflight(config, earlier=self._context, output=False, progress=preparing.progress)
        self._context = checked.context if checked.is_in_order else None
        return checked

    def _columns(self, param: Param) -> list[str]:
        """The columns of the rows, for a parameter that names one."""
        if not param.name.endswith("_column"):
            return []
        self._look_at_the_rows()
        return list(self.suited.columns) if self.suited else []

    def _look_at_the_rows(self) -> None:
        """Recognise rows that were given on the command line or in a file; what is wrong with them is found by the check of each answer."""
        config = self._config()
        if self.suited is None and config.data_path is not None:
            try:
                self.suited = _suited(config)
            except Refused:
                self.suited = None

    def _column_of(self, param: Param) -> str | None:
        """The column that was recognised for a parameter."""
        dataset = self._context.dataset if self._context and param.name.endswith("_column") else None
        role = param.name.removesuffix("_text_column")
        return dataset.columns.get(role) if dataset else None

    # ---- the end

    def _finish(self) -> Checked | None:
        """Show the plan and the command, save a config, and ask whether to start. Raises Back."""
        while True:
            arguments = ParsedArguments(self.arguments.findings)
            arguments.values, arguments.origins = self._values(), self.arguments.origins
            with Preparing(self.screen) as preparing:
                checked = check_arguments(arguments, self.from_file, preparing.progress)
            show_checked(checked, self.screen, started=not checked.refused)
            if not checked.refused:
                break
            text = self.dialogue.read("Flags that change this, such as a fix; `back`; or Enter to end")
            if not text:
                return checked
            flags = self._flags(text)
            if flags is not None:
                self.answers.append(flags)
        command = command_to(self.screen.err, command_line(self._values()))
        self.screen.write(f"\n{styled(command, 'bold', wants_colour(self.screen.err))}\n")
        self._save_config()
        if checked.config.dry_run or self.dialogue.confirm("Start?", default=True):
            return checked
        return None

    def _save_config(self) -> None:
        """Write the parameters to a config file, if the user gives a name; over another file only if the user agrees."""
        while True:
            name = self.dialogue.read("Save this as a config? A file name, or Enter for none")
            if not name:
                return
            path = Path(name if Path(name).suffix else f"{name}.yaml")
            if path.suffix not in CONFIG_ENDINGS:
                self.dialogue.tell(f"{path} is no name of a config; it ends with {' or '.join(CONFIG_ENDINGS)}")
                continue
            if path.expanduser().exists() and not self.dialogue.confirm(f"{path} exists. Replace it?", default=False):
                continue
            try:
                write_or_refuse(str(path), "config", config_text({**self.from_file.values, **self._values()}))
            except Refused as refused:
                self._show(refused.findings)
                continue
            self.dialogue.tell(f"Saved: autotrain llm --config {shlex.quote(str(path))} starts it again.")
            return


def needs(trainer: Trainer) -> str:
    """What a trainer needs, in words."""
    labelled = ", or answers that are labelled good or bad" if trainer.parts_pairs else ""
    return NEEDS[trainer.rows] + labelled


def _alternatives(config: Config, name: str) -> list[str]:
    """The parameters that can be given in place of a required one: `--max-steps` for `--epochs`."""
    names = next((names for names in config.trainer_spec.requires if name in names.split("|")), name)
    return [other for other in names.split("|") if other != name]


def _suited(config: Config) -> SuitedTrainers:
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.data.load.suited import suited_trainers

    return suited_trainers(RunContext(config).data.request)


def _data_files() -> list[str]:
    """Files of rows in this folder and in `data/`."""
    found = [path for folder in (Path(), Path("data")) if folder.is_dir() for path in sorted(folder.iterdir())]
    return [str(path) for path in found if path.suffix in ROW_ENDINGS and path.is_file()][:OFFERED]


def _runs() -> list[str]:
    """The newest runs in `runs/`."""
    folder = Path("runs")
    found = [path for path in folder.iterdir() if (path / "run.json").is_file()] if folder.is_dir() else []
    return [str(path) for path in sorted(found, key=lambda path: -path.stat().st_mtime)[:OFFERED]]


def command_line(values: Mapping[str, Any]) -> str:
    """The command with these values, quoted for a shell; a secret is replaced by a variable."""
    shown = {name: without_point(value) for name, value in values.items() if name != "interactive"}
    return " ".join(["autotrain llm", *typed_flags(shown)])
