"""Optuna's plots of a sweep in the page's colours: from the study's journal under `sweep/`, or for a study in a database from `trials.json`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import optuna
import optuna.visualization.matplotlib as optuna_plots
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from optuna import Study
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from autotrain_llm.run.artifacts.study_values import distribution, encoded
from autotrain_llm.run.report.plots import CURVES, INK, LINE, MUTED, inline, tick

JOURNALS = "*.journal"
MAX_SLICES = 4  # parameters in one plot
MAX_LEGEND = 10
MAX_LINES = 40  # of trials in one plot
WIDTH, HEIGHT = 5.4, 3.1  # inches
# Visible on white and on black, which both ends of Optuna's blues are not.
LOW_TO_HIGH = ("#e8923a", "#bf559b", "#4377d6")


def find_study(folder: Path, name: str | None = None) -> Study | None:
    """The study of this name, else the newest one, in the journal under `sweep/`; None if there is none."""
    for path in sorted((folder / "sweep").glob(JOURNALS)):
        try:
            storage = JournalStorage(JournalFileBackend(str(path)))
            names = optuna.get_all_study_names(storage)
        except (OSError, ValueError, KeyError, TypeError, AssertionError):  # damaged, or some other file
            continue
        if names:
            return optuna.load_study(study_name=name if name in names else names[-1], storage=storage)
    return None


def study_of(record: Mapping[str, Any]) -> Study | None:
    """The study that `sweep/trials.json` records; None if it has no search spaces."""
    space = record.get("space")
    if not isinstance(space, dict):
        return None
    study = optuna.create_study(direction="maximize" if record.get("direction") == "maximize" else "minimize")
    try:
        study.add_trials([_frozen(trial, space) for trial in record["trials"]])
    except (ValueError, KeyError, TypeError, AttributeError):  # a record of another form, or damaged
        return None
    return study


def _frozen(trial: Mapping[str, Any], space: Mapping[str, Any]) -> FrozenTrial:
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
    values = {name: encoded(trial["values"][name]) for name in space if name in trial["values"]}
    return create_trial(
        state=states.get(trial["state"], TrialState.FAIL),
        value=trial["metric"] if trial["state"] == "complete" else None,
        params=values,
        distributions={
            name: distribution(space[name], is_int=isinstance(value, int)) for name, value in values.items()
        },
        intermediate_values={int(step): value for step, value in trial["intermediate"].items()},
    )


def plots_of(study: Study, metric: str) -> Iterator[tuple[str, Callable[[], str]]]:
    """The title and a drawing function of each plot that this study has data for. Call them inside `drawing`."""
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    reporting = [trial for trial in study.trials if len(trial.intermediate_values) > 1]
    searched = list(dict.fromkeys(name for trial in done for name in trial.params))
    if done:
        yield _plot("Optimisation history", lambda: optuna_plots.plot_optimization_history(study, target_name=metric))
    if len(done) > 1 and searched:
        yield _plot("Parameter importances", lambda: optuna_plots.plot_param_importances(study, target_name=metric))
    if 0 < len(reporting) <= MAX_LINES:
        yield _plot("Intermediate values", lambda: optuna_plots.plot_intermediate_values(study))
    if len(done) > 1:
        for start in range(0, len(searched), MAX_SLICES):
            yield _slices(study, metric, searched[start : start + MAX_SLICES])
    if len(done) > 1 and len(searched) > 1:
        yield _plot(
            "Parallel coordinates",
            lambda: optuna_plots.plot_parallel_coordinate(study, target_name=metric),
            1.7 * (len(searched) + 1),
        )


def _slices(study: Study, metric: str, names: list[str]) -> tuple[str, Callable[[], str]]:
    title = f"{metric} by {', '.join(names)}"
    return _plot(title, lambda: optuna_plots.plot_slice(study, params=names, target_name=metric), 2.5 * len(names))


def _plot(title: str, plot: Callable[[], Any], inches: float = 0) -> tuple[str, Callable[[], str]]:
    def draw() -> str:
        with _agg():
            before = set(pyplot.get_fignums())
            try:
                plot()
                figure = pyplot.gcf()
                _restyle(figure, max(inches, WIDTH))
                return inline(figure, title, cropped=True)
            finally:
                for figure_id in set(pyplot.get_fignums()) - before:
                    pyplot.close(figure_id)

    return title, draw


@contextmanager
def _agg() -> Iterator[None]:
    """A backend without windows, as Optuna draws through pyplot; the caller's is restored."""
    before = matplotlib.get_backend(auto_select=False)
    matplotlib.use("Agg")
    try:
        with quiet_optuna():
            yield
    finally:
        if before is not None:
            matplotlib.use(before)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silence Optuna's messages about new studies and empty plots."""
    log = logging.getLogger("optuna")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _restyle(figure: Figure, inches: float) -> None:
    """Remove the titles, which the page has, and replace grey and white by the page's colours."""
    figure.set_size_inches(inches, HEIGHT)
    figure.patch.set_alpha(0)
    figure.suptitle("")
    for axes in figure.axes:
        for loc in ("left", "center"):
            axes.set_title("", loc=loc)
        axes.patch.set_alpha(0)
        if axes.get_label() != "<colorbar>":
            axes.grid(color=LINE, linewidth=0.6)
        _recolour(axes)
        _plain_scales(axes)
        _plain_legend(axes)


def _recolour(axes: Axes) -> None:
    axes.tick_params(which="both", colors=MUTED, length=0, labelsize=8)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=MUTED, fontsize=9)
    for text in axes.texts:
        text.set(color=INK, fontsize=9)
    for spine in axes.spines.values():
        spine.set_edgecolor(LINE)
    for bar in axes.patches:
        bar.set_facecolor(CURVES[0])
    for collection in axes.collections:
        if collection.get_array() is not None:
            collection.set_cmap(LinearSegmentedColormap.from_list("report", LOW_TO_HIGH))


def _plain_scales(axes: Axes) -> None:
    """Plain numbers at the ticks: matplotlib's own need its math text."""
    if axes.get_xlabel() in ("Trial", "Step"):
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))

    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_formatter(tick)
            axis.set_minor_formatter(NullFormatter())


def _plain_legend(axes: Axes) -> None:
    legend = axes.get_legend()
    if legend is None:
        return
    labels = legend.get_texts()
    if len(labels) > MAX_LEGEND or axes.patches:  # bars are labelled at their side
        legend.remove()
        return
    legend.get_frame().set(alpha=0, linewidth=0)
    for label in labels:
        label.set(color=INK, fontsize=8)
