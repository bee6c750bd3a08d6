"""The file of a job that carries out this command on SLURM, SkyPilot or Kubernetes, and the words that submit it.

Each node runs the same command, which starts the processes of its node: they meet at the first node, by what the scheduler says. No secret is in a file.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.declare.record import EMPTY, Record
from autotrain_llm.declare.text import plain
from autotrain_llm.params.launching import AUTO, KUBERNETES, SKY, SLURM
from autotrain_llm.planning.command_words import in_lines, words_of
from autotrain_llm.planning.job_options import GPUS, SETUP, TOP_OF_SKY

# Flags of this one command, which the job does not have.
NOT_IN_A_JOB = ("launch", "launch_options", "dry_run", "format", "token", "interactive")
STOPPED_BEFORE = 120  # seconds before the end of a job of SLURM in which its processes save a checkpoint
RUNTIME = "torch-distributed"  # of Kubeflow Trainer, as it installs it
SUBMITTED_BY = {SLURM: "sbatch", SKY: "sky", KUBERNETES: "kubectl"}
HUB_TOKEN = "HF_TOKEN"


class Job(Record):
    """A job: its name, the words of the command that each node runs, how many nodes with how many processes (None for one for each GPU), and what
    `--launch-options` says of the place where it runs."""

    name: str
    words: tuple[str, ...]
    nodes: int = 1
    processes: int | None = None
    options: Mapping[str, Any] = EMPTY

    @property
    def gpus(self) -> Any:
        """The GPUs of a node, as the scheduler counts or names them."""
        return self.options.get(GPUS, self.processes)


def job_of(values: Mapping[str, Any]) -> Job:
    """The job that these arguments of a command describe; a run that is started again goes on where it was."""
    processes = values.get("num_processes", AUTO)
    words = ["autotrain", "llm"]
    for name, value in values.items():
        if name not in NOT_IN_A_JOB and not PARAMS[name].secret and value is not None:
            words += words_of(name, value)
    if not any(values.get(name) for name in ("resume", "resume_from_checkpoint", "overwrite")):
        words += ["--resume", AUTO]
    name = re.sub(r"[^a-z0-9-]+", "-", Path(str(values.get("output_dir") or "autotrain")).name.lower()).strip("-")
    return Job(
        name[:50].strip("-") or "autotrain",
        tuple(words),
        values.get("num_nodes") or 1,
        processes if isinstance(processes, int) else None,
        values.get("launch_options") or {},
    )


def job_file(launch: str, job: Job) -> str:
    """The text of the file."""
    return {SLURM: _sbatch, SKY: _sky, KUBERNETES: _trainjob}[launch](job)


def submitting(launch: str, job: Job, *, with_token: bool) -> list[str]:
    """The words that submit the file, which is on their standard input; SkyPilot's take the name of a file instead, as the last one."""
    if launch == SLURM:
        return ["sbatch"]
    if launch == KUBERNETES:
        return ["kubectl", "create", "-f", "-"]
    return ["sky", "jobs", "launch", "-y", "-n", job.name, *(["--secret", HUB_TOKEN] if with_token else [])]


def _sbatch(job: Job) -> str:
    """A batch script: one task on each node, which starts the processes of its node. A job that is preempted, or whose node fails, is queued again."""
    options = {
        "job-name": job.name,
        "nodes": job.nodes,
        "ntasks-per-node": 1,
        **({"gpus-per-node": job.gpus} if job.gpus else {}),
        "output": "%x-%j.log",
        "open-mode": "append",
        "signal": f"TERM@{STOPPED_BEFORE}",
        **{name.replace("_", "-"): value for name, value in job.options.items() if name not in (GPUS, SETUP)},
    }
    lines = ["#!/bin/bash", *(_directive(name, value) for name, value in options.items()), "#SBATCH --requeue", ""]
    lines += ["set -euo pipefail", *filter(None, [str(job.options.get(SETUP) or "").rstrip()])]
    return "\n".join([*lines, f"srun --kill-on-bad-exit=1 {in_lines(job.words)}"]) + "\n"


def _directive(name: str, value: Any) -> str:
    """A line that sbatch reads: it takes quotes as a shell does, and a switch without a value."""
    if value is True:
        return f"#SBATCH --{name}"
    text = " ".join(plain(value).split())
    return (
        f"#SBATCH --{name}={text}"
        if re.fullmatch(r"[\w%@:.,/+=\[\]-]+", text)
        else f"#SBATCH --{name}={shlex.quote(text)}"
    )


def _sky(job: Job) -> str:
    """A task of SkyPilot, for a managed job: it is started again where its machine is lost."""
    options = {name: value for name, value in job.options.items() if name not in (GPUS, SETUP, *TOP_OF_SKY)}
    gpus = {"accelerators": job.gpus} if isinstance(job.gpus, str) else {}
    document = {
        "name": job.name,
        "num_nodes": job.nodes,
        "resources": {**gpus, **options},
        **{name: job.options[name] for name in TOP_OF_SKY if name in job.options},
        **({SETUP: job.options[SETUP]} if SETUP in job.options else {}),
        "run": in_lines(job.words) + "\n",
    }
    return _yaml(document)


def _trainjob(job: Job) -> str:
    """A TrainJob of Kubeflow Trainer: a pod for each node."""
    options = job.options
    limits = {"nvidia.com/gpu": job.gpus, "cpu": options.get("cpu"), "memory": options.get("memory")}
    limits = {name: str(value) for name, value in limits.items() if value}
    secret = options.get("secret")
    reference = {"secretKeyRef": {"name": secret, "key": HUB_TOKEN}}
    document = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {
            "name": job.name,
            **({"namespace": options["namespace"]} if "namespace" in options else {}),
        },
        "spec": {
            "runtimeRef": {"name": options.get("runtime", RUNTIME)},
            "trainer": {
                "image": options.get("image"),
                "numNodes": job.nodes,
                **({"numProcPerNode": job.processes} if job.processes else {}),
                "command": [
                    word.replace("$(", "$$(") for word in job.words
                ],  # Kubernetes would put variables in place of it
                **({"resourcesPerNode": {"limits": limits, "requests": dict(limits)}} if limits else {}),
                **({"env": [{"name": HUB_TOKEN, "valueFrom": reference}]} if secret else {}),
            },
        },
    }
    return _yaml(document)


def _yaml(document: dict[str, Any]) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes texts of several lines as a block, which people can read."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    written: str = yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    return written
