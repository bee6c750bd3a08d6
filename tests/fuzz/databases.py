"""Studies that processes share in SQLite, PostgreSQL and MySQL (MariaDB), with what can happen to them.

    python -m fuzz.databases [--times 50] [--database sqlite|postgresql|mysql]      (with tests/ on the path)

Each of these is tried so many times, with trials that train nothing: two processes begin one study at once, in a database without tables; a process is killed
between proposing a trial and claiming it; the database is restarted in the middle of a trial. Every trial has to be there once, complete, with the values and
results of a sweep by one process that nothing happened to. A database that is not installed is left out, and said. The exit status is 1 after a fault, or if nothing
was tried.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autotrain_llm.planning.plan import SweepPlan
from autotrain_llm.run.sweep import claims, study
from support.databases import MariaDB, PostgreSQL, Server, mariadb_programs, postgresql_programs, running
from support.studies import carry_out, in_a_process, open_study, results, sweep_plan

KILLED = 99
TRIALS = 4


class SQLite:
    """Files take the place of a server; there is nothing to restart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def url(self, database: str) -> str:
        return f"sqlite:///{self.folder / database}.db"


def at_once(sweep: SweepPlan, folder: Path, server: Any, url: str) -> None:
    """Two processes begin the study at the same moment."""
    ready, go = os.pipe()
    children = []
    for name in ("first", "second"):
        child = os.fork()
        if child == 0:
            status = 70
            try:
                os.close(go)
                os.read(ready, 1)  # until the other end is closed
                carry_out(open_study(sweep, folder / name, url))
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    os.close(ready)
    time.sleep(0.05)
    os.close(go)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert statuses == [0, 0], f"they ended with {statuses}"


def killed_before_the_claim(sweep: SweepPlan, folder: Path, server: Any, url: str) -> None:
    """A process is killed when it has stored a proposal, before it has claimed it; another one goes on."""

    def run() -> None:
        show, count = claims.Claim.show, [0]

        def killed(claim: claims.Claim) -> None:
            count[0] += 1
            if count[0] == 2:
                os._exit(KILLED)
            show(claim)

        claims.Claim.show = killed  # type: ignore[method-assign]
        carry_out(open_study(sweep, folder / "killed", url))

    status = in_a_process(run)
    assert status == KILLED, f"it ended with {status}"
    carry_out(open_study(sweep, folder / "other", url))


def restarted(sweep: SweepPlan, folder: Path, server: Any, url: str) -> None:
    """The database is stopped in the middle of a trial, as if it had lost power, and is back when it is looked for again."""
    done = [0]

    def run() -> None:
        shared = open_study(sweep, folder / "only", url)
        notes: list[str] = []
        shared.note, shared.pause = notes.append, lambda seconds: server.start()

        def stop() -> None:
            done[0] += 1
            if done[0] == 5:
                server.stop()

        carry_out(shared, stop)
        assert len(notes) == 1, notes

    run()


SCENARIOS = (at_once, killed_before_the_claim, restarted)


@contextmanager
def servers(folder: Path, only: str | None) -> Iterator[dict[str, Any]]:
    """The databases that are installed, by name."""
    from contextlib import ExitStack
    from importlib.util import find_spec

    with ExitStack() as stack:
        chosen: dict[str, Any] = {"sqlite": SQLite(folder)}
        makers: dict[str, tuple[Path | None, str, Callable[[Path], Server]]] = {
            "postgresql": (postgresql_programs(), "psycopg", PostgreSQL),
            "mysql": (mariadb_programs(), "pymysql", MariaDB),
        }
        for name, (programs, driver, make) in makers.items():
            if only not in (None, name):
                continue
            if programs is None or find_spec(driver) is None:
                print(
                    f"{name}: left out, because {'its programs are' if programs is None else f'{driver} is'} not installed"
                )
            else:
                chosen[name] = stack.enter_context(running(make(programs)))
        yield {name: server for name, server in chosen.items() if only in (None, name)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "mysql"))
    options = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    study.POLL = 0.05
    faults = 0
    with tempfile.TemporaryDirectory(prefix="autotrain-studies-") as temporary:
        folder = Path(temporary)
        sweep = sweep_plan(trials=TRIALS)
        alone = open_study(sweep, folder / "alone")
        carry_out(alone)
        expected = results(alone)
        with servers(folder, options.database) as databases:
            for database, server in databases.items():
                for scenario in SCENARIOS[: 2 if database == "sqlite" else 3]:
                    wrong = 0
                    for index in range(options.times):
                        case = folder / "case"
                        url = server.url(f"{scenario.__name__}_{index}")
                        try:
                            scenario(sweep, case, server, url)
                            assert results(open_study(sweep, case / "reader", url)) == expected, "the trials differ"
                        except Exception as fault:
                            wrong += 1
                            print(
                                f"{database}, {scenario.__name__} {index}: {type(fault).__name__}: {fault}", flush=True
                            )
                        shutil.rmtree(case, ignore_errors=True)
                    faults += wrong
                    print(f"{database}: {scenario.__name__}: {options.times} times, {wrong} faults", flush=True)
            nothing = not databases
    return 1 if faults or nothing else 0


if __name__ == "__main__":
    sys.exit(main())
