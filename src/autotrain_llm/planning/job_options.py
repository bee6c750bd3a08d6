"""What a job can ask for on SLURM, SkyPilot and Kubernetes: the options that each of them knows, and the form of those that have one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.record import Record
from autotrain_llm.params.launching import KUBERNETES, SKY, SLURM

# What --launch-options has besides what is handed to sbatch, or to SkyPilot as a resource.
GPUS, SETUP = "gpus", "setup"
OF_KUBERNETES = ("image", "namespace", "runtime", GPUS, "cpu", "memory", "secret")
TOP_OF_SKY = ("workdir", "file_mounts", "envs", "volumes")  # keys of a task that are not resources
# SkyPilot 0.14.1, `sky.utils.schemas`: the resources of a task that are not derived from this command.
RESOURCES_OF_SKY = (
    "accelerator_args any_of autostop cloud cpus disk_size disk_tier ephemeral_storage image_id infra instance_type job_recovery labels "
    "local_disk max_hourly_cost memory network_tier ordered ports priority priority_class region use_spot zone"
)
# SLURM 24.05, the options of sbatch that have a long name and belong into a script; and those of pyxis, its plugin for containers.
OF_SBATCH = (
    "account acctg-freq batch bb bbf begin chdir cluster-constraint clusters comment constraint container container-id contiguous core-spec "
    "cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot dependency distribution error exclude exclusive export export-file "
    "extra extra-node-info get-user-env gid gpu-bind gpu-freq gpus-per-socket gpus-per-task gres gres-flags hint hold ignore-pbs "
    "input job-name kill-on-invalid-dep licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu mincpus network nice no-kill "
    "nodefile nodelist ntasks-per-core ntasks-per-socket open-mode output overcommit oversubscribe partition power prefer "
    "priority profile propagate qos quiet reboot reservation resv-ports segment signal sockets-per-node spread-job stepmgr switches "
    "thread-spec threads-per-core time time-min tmp tres-bind tres-per-task uid use-min-nodes verbose wait-all-nodes wckey"
)
OF_PYXIS = (
    "container-image container-mounts container-workdir container-name container-save container-mount-home no-container-mount-home "
    "container-remap-root no-container-remap-root container-entrypoint no-container-entrypoint container-entrypoint-log container-writable "
    "container-readonly container-env"
)
# What the file of a job has from elsewhere, and where it is said.
FROM_ELSEWHERE = {
    SLURM: {
        "nodes": "the number of nodes is --num-nodes",
        "ntasks": "the processes of a node are --num-processes",
        "ntasks-per-node": "the processes of a node are --num-processes",
        "ntasks-per-gpu": "the processes of a node are --num-processes",
        "requeue": "a job is always queued again when it was preempted",
        "no-requeue": "a job is always queued again when it was preempted",
        "array": "a job is one run, and the runs of an array would share its folder; --use-sweep tries several values",
        "wrap": "the file of the job has the command",
        "test-only": "--dry-run prints the file",
    },
    SKY: {
        "num_nodes": "the number of nodes is --num-nodes",
        "name": "the job has the name of its --output-dir",
        "run": "the file of the job has the command",
        "resources": "resources are named without it",
    },
    KUBERNETES: {
        "numNodes": "the number of nodes is --num-nodes",
        "numProcPerNode": "the processes of a node are --num-processes",
    },
}
OTHER_NAMES = {(SLURM, "gpus-per-node"): GPUS, (SKY, "accelerators"): GPUS, (KUBERNETES, "nvidia.com/gpu"): GPUS}
KNOWN = {
    SLURM: (*OF_SBATCH.split(), *OF_PYXIS.split(), GPUS, SETUP),
    SKY: (*RESOURCES_OF_SKY.split(), *TOP_OF_SKY, GPUS, SETUP),
    KUBERNETES: OF_KUBERNETES,
}
TIME = re.compile(r"\d+(:\d{1,2}){0,2}|\d+-\d{1,2}(:\d{1,2}){0,2}|UNLIMITED|INFINITE", re.IGNORECASE)
WITH_UNITS = re.compile(
    r"(?:(?P<d>\d+) *d[a-z]*)? *(?:(?P<h>\d+) *h[a-z]*)? *(?:(?P<m>\d+) *m[a-z]*)? *(?:(?P<s>\d+) *s[a-z]*)?",
    re.IGNORECASE,
)
QUANTITY = re.compile(r"\d+(\.\d*)?([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?")


class Fault(Record):
    """An option that a job can't have: what is wrong with it, whether that is certain, and how it was probably meant, if that is known."""

    name: str
    message: str
    is_certain: bool = True
    meant: tuple[str, Any] | None = None


def mended(options: Mapping[str, Any], found: Iterable[Fault]) -> dict[str, Any]:
    """The options as they were probably meant, all of them."""
    meant = {fault.name: fault.meant for fault in found if fault.meant}
    return dict(meant.get(name) or (name, value) for name, value in options.items())


def faults(launch: str, options: Mapping[str, Any]) -> Iterator[Fault]:
    """What this scheduler has no place for, or would refuse."""
    for name, value in options.items():
        fault = _unknown(launch, name, value, options) or _malformed(launch, name, value)
        if fault is not None:
            yield fault


def _unknown(launch: str, name: str, value: Any, options: Mapping[str, Any]) -> Fault | None:
    spelt = name.replace("_", "-") if launch == SLURM else name
    if spelt in KNOWN[launch]:
        return None
    elsewhere = FROM_ELSEWHERE[launch].get(spelt)
    if elsewhere is not None:
        return Fault(name, elsewhere)
    near = OTHER_NAMES.get((launch, spelt)) or nearest(
        spelt, [known for known in KNOWN[launch] if known not in options], cutoff=0.7
    )
    near = near or (nearest(spelt, KNOWN[launch]) if launch != SLURM else None)
    if near is not None:
        what = f"it is called {near} here"
        if (launch, spelt) not in OTHER_NAMES:
            what = f"{_whose(launch)} no such option; did you mean {near}?"
        return Fault(name, what, True, (near, value))
    if launch == SLURM and re.fullmatch(r"[A-Za-z][\w-]*", name):
        return Fault(
            name, "sbatch itself has no such option, and takes it only where a plugin of the cluster adds it", False
        )
    return Fault(
        name, f"there are {', '.join(sorted(KNOWN[launch]))}" if launch != SLURM else "it is no name of an option"
    )


def _whose(launch: str) -> str:
    return {SLURM: "sbatch has", SKY: "a task of SkyPilot has", KUBERNETES: "a job on Kubernetes has"}[launch]


def _malformed(launch: str, name: str, value: Any) -> Fault | None:
    if launch == SLURM and isinstance(value, dict | list):
        return Fault(name, "an option of sbatch has one value")
    check = FORMS.get((launch, name.replace("_", "-")))
    if check is None or value is None:
        return None
    pattern, example, rewritten = check
    text = str(value)
    if not isinstance(value, bool) and pattern.fullmatch(text):
        return None
    meant = rewritten(text)
    return Fault(name, f"{text!r} is not {example}", True, (name, meant) if meant else None)


def _slurm_time(text: str) -> str | None:
    """`24h` and `2 days 12h` as SLURM writes times; None if that is not what it says."""
    match = WITH_UNITS.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        return None
    days, hours, minutes, seconds = (int(match[unit] or 0) for unit in "dhms")
    clock = f"{hours:02d}:{minutes:02d}:{seconds:02d}"
    return f"{days}-{clock}" if days else clock


def _quantity(text: str) -> str | None:
    """`64 GB` as Kubernetes writes it: `64G`."""
    bare = re.sub(r"\s+", "", text)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKMGTPE])(i?)[bB]?", bare)
    if match is None:
        return None
    number, unit, binary = match.groups()
    return f"{number}{unit.upper() if binary else unit.replace('K', 'k')}{binary}"


Form = tuple[re.Pattern[str], str, Callable[[str], "str | None"]]
SLURM_TIME: Form = (TIME, "a time of SLURM: minutes, HH:MM:SS or D-HH:MM:SS", _slurm_time)
OF_KUBERNETES_QUANTITY: Form = (QUANTITY, "a quantity of Kubernetes, such as 8, 500m or 64Gi", _quantity)
LABEL: Form = (
    re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"),
    "a name of Kubernetes: small letters, digits and dashes",
    lambda text: None,
)
FORMS: dict[tuple[str, str], Form] = {
    (SLURM, "time"): SLURM_TIME,
    (SLURM, "time-min"): SLURM_TIME,
    (KUBERNETES, "cpu"): OF_KUBERNETES_QUANTITY,
    (KUBERNETES, "memory"): OF_KUBERNETES_QUANTITY,
    (KUBERNETES, "namespace"): LABEL,
    (KUBERNETES, "secret"): LABEL,
}
