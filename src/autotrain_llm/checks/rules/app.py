"""`autotrain app`: what it needs, and what its command and its pages may name."""

from __future__ import annotations

from autotrain_llm.declare.example import Example
from autotrain_llm.declare.rule import declare_finding

SERVED = "app --dry-run"
PACKAGES_OF_THE_APP = declare_finding(
    "P160",
    """`autotrain app` without the packages that serve its pages.

    Why: they are an extra, which other commands don't need.
    Fix: `pip install "autotrain-llm[app]"`.
    """,
    example=Example(SERVED, SERVED, on="where starlette is not installed"),
)
NOT_SERVED = declare_finding(
    "P161",
    """`autotrain app` can't be served as its command says: a folder that is not there, or a host or port that can't be listened on.

    Why: the app reads and writes in the folders that it was started with, and in no others.
    Fix: name folders that exist, and a port that is free.
    """,
    example=Example(f"{SERVED} nowhere", f"{SERVED} ."),
)
OUTSIDE_OF_FOLDERS = declare_finding(
    "P162",
    """A path in the form of `autotrain app` is in none of the folders that it was started with, links followed.

    Why: a page in a browser must not reach other files of this machine.
    Fix: start the app with that folder too, as in `autotrain app . /data`.
    """,
    mistyped=True,
    example=Example("app --dry-run", "app --dry-run", on="in the form, with a path outside of its folders"),
)
