"""`--launch slurm|sky|kubernetes`: print the file of the job, or submit it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from autotrain_llm.checks.rules.launching import NO_PROGRAM
from autotrain_llm.cli.outcome import fail, refuse
from autotrain_llm.cli.screen import Screen
from autotrain_llm.params.launching import SKY
from autotrain_llm.planning.job_files import HUB_TOKEN, SUBMITTED_BY, job_file, job_of, submitting


def print_or_submit(launch: str, values: Mapping[str, Any], screen: Screen) -> int:
    """Carry out a command with this `--launch`, whose flags have been checked, and return the exit status."""
    job = job_of(values)
    text = job_file(launch, job)
    if values.get("dry_run"):
        return screen.finish_with(text.rstrip("\n"))
    program = SUBMITTED_BY[launch]
    if shutil.which(program) is None:
        finding = NO_PROGRAM.finding(
            f"--launch {launch} submits with {program}, which is not on PATH",
            f"run it where {program} is; or --dry-run, which prints the file of the job",
            ("launch",),
        )
        return refuse([finding], screen)
    token = values.get("token") or os.environ.get(HUB_TOKEN)
    words = submitting(launch, job, with_token=bool(token))
    environment = os.environ | ({HUB_TOKEN: token} if token else {})
    if launch == SKY:
        from autotrain_llm.declare.temporary import TemporaryFolder

        folder = TemporaryFolder("job")
        (folder.path / "job.yaml").write_text(text, encoding="utf-8")
        done = subprocess.run([*words, str(folder.path / "job.yaml")], env=environment, capture_output=True, text=True)
    else:
        done = subprocess.run(words, input=text, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        answer = " ".join((done.stderr or done.stdout).split())
        return fail(f"{program} did not take the job: {answer}", "--dry-run prints the file of the job", screen)
    return screen.finish_with(done.stdout.strip())
