"""The files of a sweep: `sweep/trials.json`, `trials.csv`, `best.yaml`, the models of the best trials, and the best one at the root."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.output_dir import CHECKPOINTS, SWEEP, TRAINED_ROWS, earlier_run
from autotrain_llm.declare.document import parse_json
from autotrain_llm.declare.text import as_list, as_tuple, plain
from autotrain_llm.planning.plan import SweepPlan
from autotrain_llm.run.artifacts.output_lock import UNFINISHED
from autotrain_llm.run.artifacts.records import finite, write_json, write_text
from autotrain_llm.run.sweep.trial import COMPLETE, INTERRUPTED, RUNNING, Trial

# The files of a trial's folder that stay when its model is removed.
KEPT_FILES = frozenset(
    ("run.json", "metrics.jsonl", "command.sh", "README.md", "report.html", TRAINED_ROWS, "eval", "logs")
)
# The files of the best trial that are not copied to the root, where the sweep has its own.
NOT_COPIED = frozenset(("run.json", "command.sh", "README.md", "report.html", CHECKPOINTS))


def best_of(trials: Sequence[Trial], direction: str) -> Trial | None:
    """The complete trial with the best metric, the first of several; None before one is complete."""
    return next(iter(ranked(trials, direction)), None)


def ranked(trials: Sequence[Trial], direction: str) -> list[Trial]:
    """The complete trials, best first."""
    sign = 1 if direction == "minimize" else -1
    complete = [trial for trial in trials if trial.state == COMPLETE and trial.metric is not None]
    return sorted(complete, key=lambda trial: (sign * (trial.metric or 0.0), trial.number))


class SweepRecords:
    """Writes the records of one sweep; the caller holds the study's lock."""

    def __init__(self, root: Path, sweep: SweepPlan, base: Config) -> None:
        self.root, self.sweep, self.base = root, sweep, base

    def write(self, trials: Sequence[Trial], importances: Mapping[str, float] | None = None) -> None:
        """Write all records, and remove the models of all but the best trials."""
        best = best_of(trials, self.sweep.direction)
        document = {
            **{name: getattr(self.sweep, name) for name in ("study", "metric", "direction", "space")},
            "best": best.number if best else None,
            "importances": dict(importances or {}),
            "trials": [trial.as_json() for trial in trials],
        }
        write_json(self.root / SWEEP / "trials.json", document)
        write_text(self.root / SWEEP / "trials.csv", self._table(trials))
        if best is not None:
            write_text(self.root / SWEEP / "best.yaml", self._config(best))
        self._remove_models(trials)

    def _table(self, trials: Sequence[Trial]) -> str:
        names = list(self.sweep.space)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["number", "state", *names, self.sweep.metric, "seconds", "folder", "why"])
        for trial in trials:
            values = [plain(trial.values.get(name)) for name in names]
            metric = "" if trial.metric is None else repr(trial.metric)
            writer.writerow([trial.number, trial.state, *values, metric, trial.seconds, trial.folder, trial.why])
        return text.getvalue()

    def _config(self, best: Trial) -> str:
        """A `--config` that trains the best trial again."""
        import yaml

        changes = {name: as_tuple(value) for name, value in best.values.items()}
        config = self.base.replace(changes)
        given = [name for name in config.all_given() if not (PARAMS[name].command or PARAMS[name].secret)]
        values = {name: config.value_of(name) for name in given}
        cells = {name: as_list(value) for name, value in values.items()}
        metric = f"{self.sweep.metric} {best.metric:.6g}"
        return f"# Trial {best.number} of the sweep {self.sweep.study}: {metric}\n" + yaml.safe_dump(
            cells, sort_keys=False, allow_unicode=True
        )

    def _remove_models(self, trials: Sequence[Trial]) -> None:
        here = [trial for trial in trials if (self.root / trial.folder).is_dir()]
        best_numbers = {trial.number for trial in ranked(here, self.sweep.direction)[: self.sweep.keep]}
        for trial in here:
            if trial.number not in best_numbers and trial.state not in (RUNNING, INTERRUPTED):
                remove_model(self.root / trial.folder)

    def copy_to_root(self, best: Trial) -> tuple[list[str], str | None]:
        """Put the best trial's model at the root; returns the names of its files and its best checkpoint.

        Files are hard links, so that the model takes its disk space once.
        """
        source = self.root / best.folder
        run = earlier_run(source)
        names = [str(name) for name in run.get("files", []) if name not in NOT_COPIED and (source / name).exists()]
        staged = self.root / UNFINISHED
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        for name in names:
            _link(source / name, staged / name)
        for entry in staged.iterdir():
            target = self.root / entry.name
            if target.is_dir():
                shutil.rmtree(target)
            entry.replace(target)
        shutil.rmtree(staged)  # replacing a file by a link to itself leaves the link behind
        if any((source / CHECKPOINTS).glob("*")):
            shutil.rmtree(self.root / CHECKPOINTS, ignore_errors=True)
            _link(source / CHECKPOINTS, self.root / CHECKPOINTS)
        card = (source / "README.md").read_text(encoding="utf-8")
        card = card.replace(str(source), str(self.root)).replace(source.name, self.root.name)
        write_text(self.root / "README.md", card)
        checkpoint = run.get("outcome", {}).get("best_checkpoint")
        return [*names, "README.md"], checkpoint


def remove_model(folder: Path) -> None:
    """Remove the model from a trial's folder; its records stay."""
    files = [str(name) for name in earlier_run(folder).get("files", [])]
    for name in {*files, CHECKPOINTS, UNFINISHED} - KEPT_FILES:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def read_trials(root: Path) -> list[Trial]:
    """The trials in `trials.json`; none if it is missing or damaged."""
    try:
        document = parse_json((root / SWEEP / "trials.json").read_text(encoding="utf-8"))
        return [Trial.from_json(entry) for entry in document["trials"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _link(source: Path, target: Path) -> None:
    """Hard-link a file, or the files of a folder; copy them where the file system has no links."""
    if source.is_dir():
        target.mkdir(parents=True)
        for entry in source.iterdir():
            _link(entry, target / entry.name)
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def summary(trials: Sequence[Trial], sweep: SweepPlan, importances: Mapping[str, float]) -> dict[str, Any]:
    """The report's `sweep`, as JSON."""
    best = best_of(trials, sweep.direction)
    own = next((trial.metric for trial in trials if trial.own and trial.metric is not None), None)
    shown = best and {name: getattr(best, name) for name in ("number", "values", "metric", "folder", "host")}
    document: dict[str, Any] = finite(
        {
            "study": sweep.study,
            "metric": sweep.metric,
            "direction": sweep.direction,
            "best": shown,
            "own_metric": own,
            "counts": dict(Counter(trial.state for trial in trials)),
            "importances": dict(importances),
        }
    )
    return document
