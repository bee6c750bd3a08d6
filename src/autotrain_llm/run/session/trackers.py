"""`--log`: send the metrics of metrics.jsonl to experiment trackers, under the same names.

A tracker that fails is dropped with a note. Trackers write to the run's folder, under `logs`; none asks for a login or prints to stdout.
"""

from __future__ import annotations

import contextlib
import math
import netrc
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import urlsplit

from autotrain_llm.planning.plan import Plan
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.failures import Interrupted

LOGS = "logs"
PROJECT = "autotrain-llm"
WANDB_HOST = "https://api.wandb.ai"
CONNECT_TIMEOUT = 30


class Tracker(Protocol):
    """An open tracker. Any exception that it raises means that it has failed."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class Trackers:
    """All trackers of a run, as a context manager. The failure of one is noted once, and the others continue."""

    def __init__(
        self, plan: Plan, folder: Path, resumed_at: int | None, progress: ProgressCallback, *, leader: bool
    ) -> None:
        self.names = plan.schedule.trackers if leader else ()
        self.plan, self.folder, self.resumed_at, self.progress = plan, folder, resumed_at, progress
        self.open: dict[str, Tracker] = {}

    def __enter__(self) -> Trackers:
        for name in self.names:
            self._guarded(name, self._start, name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, tracker in list(self.open.items()):
            self._guarded(name, tracker.close)
        self.open.clear()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of a step without NaN and infinities, which some trackers refuse."""
        numbers = {name: float(value) for name, value in metrics.items() if _is_number(value)}
        for name, tracker in list(self.open.items()):
            self._guarded(name, tracker.log, step, numbers)

    def _start(self, name: str) -> None:
        folder = self.folder / LOGS / name
        folder.mkdir(parents=True, exist_ok=True)
        self.open[name] = OPEN[name](folder, self)

    def _guarded(self, name: str, call: Callable[..., None], *args: Any) -> None:
        """Drop a tracker that raises anything but the user's interrupt."""
        try:
            with contextlib.redirect_stdout(sys.stderr):
                call(*args)
        except Interrupted:
            raise
        except Exception as fault:
            self.open.pop(name, None)
            reason = (str(fault).strip() or type(fault).__name__).splitlines()[0]
            self.progress.note(f"--log {name} failed and is not used any more: {reason}")

    @property
    def run_name(self) -> str:
        return self.folder.resolve().name

    def settings(self) -> dict[str, Any]:
        """The value of every parameter; the plan contains no secret."""
        return {name: entry.value for name, entry in self.plan.parameters.items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


class _TensorBoard:
    """Event files, readable during the run."""

    def __init__(self, folder: Path, run: Trackers) -> None:
        writer = import_module("torch.utils.tensorboard").SummaryWriter
        # Hide what the interrupted run logged after its checkpoint.
        after = None if run.resumed_at is None else run.resumed_at + 1
        self.writer = writer(log_dir=str(folder), purge_step=after)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class _Wandb:
    """Weights & Biases: online with a login, else offline, for `wandb sync`."""

    def __init__(self, folder: Path, run: Trackers) -> None:
        # Keep its caches out of the home folder.
        for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR"):
            os.environ.setdefault(name, str(folder / "cache"))
        wandb = import_module("wandb")
        mode = os.environ.get("WANDB_MODE") or ("online" if _wandb_login() else "offline")
        mode = "offline" if run.plan.model.offline else mode
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.run_name,
            dir=str(folder),
            config=run.settings(),
            mode=mode,
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,
                save_code=False,
                init_timeout=CONNECT_TIMEOUT,
                finish_timeout=CONNECT_TIMEOUT,
            ),
        )
        if mode == "offline":
            run.progress.note(
                f"--log wandb is offline and writes to {folder}; to upload: wandb sync {Path(self.run.dir).parent}"
            )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.run.log(dict(metrics), step=step)

    def close(self) -> None:
        self.run.finish()


def _wandb_login() -> bool:
    """Whether the environment or .netrc has a key: without one, wandb would wait for input."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", WANDB_HOST)).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


class _Trackio:
    """A database that `trackio show` reads."""

    def __init__(self, folder: Path, run: Trackers) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(folder))
        self.trackio = import_module("trackio")
        self.trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=run.run_name,
            config=run.settings(),
            resume="never" if run.resumed_at is None else "allow",
            embed=False,
        )
        # It reads TRACKIO_DIR at its first import: a second run in this process writes to the folder of the first.
        actual = Path(import_module("trackio.utils").TRACKIO_DIR)
        if actual != folder:
            run.progress.note(f"--log trackio writes to {actual}")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.trackio.log(dict(metrics), step=step)

    def close(self) -> None:
        self.trackio.finish()  # the run's own finish() would print once more at exit


OPEN: dict[str, Callable[[Path, Trackers], Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": _Wandb,
    "trackio": _Trackio,
}
