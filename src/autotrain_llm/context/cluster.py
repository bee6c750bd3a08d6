"""What a launcher or a scheduler has told this process: which of how many processes it is, on which of how many nodes, and where the first one is.

`cluster_of` reads the variables of torchrun (which `accelerate launch` uses), MPI, SLURM, SkyPilot and a Kubeflow TrainJob. A process is one of a *group*
where something has started all of them already; else it may start the processes of its node itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from autotrain_llm.declare.record import Record

TORCHRUN, MPI, SLURM, SKYPILOT, TRAINJOB = "torchrun", "mpirun", "SLURM", "SkyPilot", "a Kubeflow TrainJob"
PORT = 29400  # where torchrun's agents meet, as torch has it
FIRST_PORT, PORTS = 20000, 20000  # of the ports that follow from the number of a job
# Rank, number of processes, rank and number on the node: Open MPI's, and those of MPICH and Intel MPI.
MPI_NAMES = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
)
MEETING = ("MASTER_ADDR", "MASTER_PORT")  # which torch needs to bring the processes together
MANAGED = "sky-managed-"  # how the id of a job begins that SkyPilot starts again when it loses its machine


class Cluster(Record):
    """The place of a process among others.

    `launcher` is who has said so, empty for nobody; `local_world` is how many of the group are on this node, None where that is not known. Of a group (`is_group`) `world_size` is the number of processes and `rank` that of this one. `nodes` is the
    number of nodes, `node` that of this one, `address` its own, and `head` the host of the first. `per_node` is how many processes a node is to have, where the scheduler
    says it, and `job` its number or name. `restarts` counts how often torchrun's agent has started this group again, `requeues` how often SLURM has the
    job; `is_managed` is whether SkyPilot starts it again when it loses its machine. `fault` says why these variables can't be meant.
    """

    launcher: str = ""
    is_group: bool = False
    world_size: int = 1
    rank: int = 0
    local_rank: int = 0
    local_world: int | None = 1
    nodes: int = 1
    node: int = 0
    head: str | None = None
    address: str | None = None
    port: int | None = None
    per_node: int | None = None
    job: str | None = None
    restarts: int = 0
    requeues: int = 0
    is_managed: bool = False
    fault: str | None = None

    @property
    def is_first_process(self) -> bool:
        """Whether this process speaks for all; one whose place is not known runs alone."""
        return (self.rank if self.is_group else self.node) == 0

    @property
    def was_restarted(self) -> bool:
        """Whether this command is to go on where it was, without being told so."""
        return self.restarts > 0 or self.requeues > 0 or self.is_managed

    def torch_variables(self) -> dict[str, str]:
        """The variables by which torch's processes find each other, for a group that was started by something else than torchrun."""
        if not self.is_group or self.launcher == TORCHRUN:
            return {}
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_world or self.world_size),
            "MASTER_ADDR": self.head or "127.0.0.1",
            "MASTER_PORT": str(self.port or PORT),
        }


class _Contradiction(Exception):
    """Variables that can't be meant; the message says what is wrong."""


def cluster_of(environment: Mapping[str, str]) -> Cluster:
    """The place of this process. Variables that contradict each other are a `fault`, and the process is taken to run alone."""
    readers = (_torchrun, _mpi, _slurm, _skypilot, _trainjob)
    try:
        found = next((place for read in readers if (place := read(environment))), None)
    except _Contradiction as contradiction:
        found = Cluster(fault=str(contradiction))
    return (found or Cluster()).replace(
        restarts=_count(environment, "TORCHELASTIC_RESTART_COUNT"),
        requeues=_count(environment, "SLURM_RESTART_COUNT"),
        is_managed=environment.get("SKYPILOT_TASK_ID", "").startswith(MANAGED),
    )


def _torchrun(environment: Mapping[str, str]) -> Cluster | None:
    """A process that torchrun, or something in its way, has started."""
    if not any(environment.get(name) for name in ("RANK", "WORLD_SIZE")):
        return None
    rank, size = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    if rank is None or (rank == 0 and size is None):
        if size in (None, 1):
            return None
        raise _Contradiction(f"the environment variable WORLD_SIZE is {size}, but RANK is not set")
    if rank >= (size or 1):
        limit = f"WORLD_SIZE is {size}: ranks go from 0 to {size - 1}" if size else "WORLD_SIZE is not set"
        raise _Contradiction(f"the environment variable RANK is {rank}, but {limit}")
    absent = [name for name in MEETING if not environment.get(name, "").strip()]
    if (size or 1) > 1 and absent:
        raise _Contradiction(
            f"the environment variables say that this is one of {size} processes (WORLD_SIZE {size}, RANK {rank}), and {' and '.join(absent)}, where they meet, "
            f"{'is' if len(absent) == 1 else 'are'} not set"
        )
    return Cluster(
        launcher=TORCHRUN,
        is_group=True,
        world_size=size or 1,
        rank=rank,
        local_rank=_number(environment, "LOCAL_RANK") or 0,
        local_world=_number(environment, "LOCAL_WORLD_SIZE"),
        nodes=_number(environment, "GROUP_WORLD_SIZE") or 1,
        node=_number(environment, "GROUP_RANK") or 0,
        head=environment.get("MASTER_ADDR"),
        port=_number(environment, "MASTER_PORT"),
    )


def _mpi(environment: Mapping[str, str]) -> Cluster | None:
    """A process that mpirun has started, alone on this machine or with an address in MASTER_ADDR."""
    for names in MPI_NAMES:
        rank, size, local_rank, local_world = (_number(environment, name) for name in names)
        if rank is None or size is None or size == 1:
            continue
        if rank >= size:
            raise _Contradiction(f"the environment variable {names[0]} is {rank}, but {names[1]} is {size}")
        head = environment.get("MASTER_ADDR")
        if head is None and local_world not in (None, size):
            raise _Contradiction(
                f"mpirun has started {size} processes on several machines, and MASTER_ADDR, the address of the first one, is not set"
            )
        port = _number(environment, "MASTER_PORT")
        return Cluster(
            launcher=MPI,
            is_group=True,
            world_size=size,
            rank=rank,
            local_rank=rank if local_rank is None else local_rank,
            local_world=local_world or size,
            head=head,
            port=port,
        )
    return None


def _slurm(environment: Mapping[str, str]) -> Cluster | None:
    """A task that srun has started: one of a group where a node has several, else the one of its node."""
    tasks, nodes = _number(environment, "SLURM_STEP_NUM_TASKS"), _number(environment, "SLURM_STEP_NUM_NODES") or 1
    if tasks is None or tasks == 1:
        return None  # in a batch script, or alone
    rank, node = _number(environment, "SLURM_PROCID") or 0, _number(environment, "SLURM_NODEID") or 0
    hosts = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST") or ""
    job = environment.get("SLURM_JOB_ID")
    place = Cluster(launcher=SLURM, nodes=nodes, node=node, head=first_host(hosts), port=_port_of(job), job=job)
    if tasks == nodes:
        return place
    return place.replace(
        is_group=True,
        world_size=tasks,
        rank=rank,
        local_rank=_number(environment, "SLURM_LOCALID") or 0,
        local_world=_tasks_of_node(environment.get("SLURM_STEP_TASKS_PER_NODE", ""), node) or -(-tasks // nodes),
    )


def _skypilot(environment: Mapping[str, str]) -> Cluster | None:
    """A node of a SkyPilot task."""
    nodes = _number(environment, "SKYPILOT_NUM_NODES")
    if nodes is None:
        return None
    addresses, node = environment.get("SKYPILOT_NODE_IPS", "").split(), _number(environment, "SKYPILOT_NODE_RANK") or 0
    return Cluster(
        launcher=SKYPILOT,
        nodes=nodes,
        node=node,
        address=addresses[node] if node < len(addresses) else None,
        head=addresses[0] if addresses else None,
        per_node=_number(environment, "SKYPILOT_NUM_GPUS_PER_NODE") or None,
        job=environment.get("SKYPILOT_TASK_ID"),
    )


def _trainjob(environment: Mapping[str, str]) -> Cluster | None:
    """A pod of a Kubeflow TrainJob, which sets what torchrun would read (PET_…)."""
    nodes = environment.get("PET_NNODES")
    if nodes is None:
        return None
    most = nodes.rpartition(":")[2]  # an elastic job has the fewest and the most
    if not most.isdecimal():
        raise _Contradiction(f"the environment variable PET_NNODES is {nodes!r}, and must be a number")
    per_node = environment.get("PET_NPROC_PER_NODE", "")
    return Cluster(
        launcher=TRAINJOB,
        nodes=int(most),
        node=_number(environment, "PET_NODE_RANK") or 0,
        head=environment.get("PET_MASTER_ADDR"),
        port=_number(environment, "PET_MASTER_PORT"),
        per_node=int(per_node) if per_node.isdecimal() else None,
    )


def _count(environment: Mapping[str, str], name: str) -> int:
    count = environment.get(name, "")
    return int(count) if count.isdecimal() else 0


def _number(environment: Mapping[str, str], name: str) -> int | None:
    """The number in a variable; None if it is not set or empty."""
    text = environment.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal():
        raise _Contradiction(f"the environment variable {name} is {text!r}, and must be a number")
    if name.endswith("SIZE") and int(text) == 0:
        raise _Contradiction(f"the environment variable {name} is 0, and must be 1 or more")
    return int(text)


def _port_of(job: str | None) -> int | None:
    """A port that all tasks of a job agree on, and other jobs on the same node hardly have."""
    return FIRST_PORT + int(job) % PORTS if job and job.isdecimal() else None


def host_and_port(address: str) -> tuple[str, int] | None:
    """The two parts of `HOST[:PORT]`; None if it is none. An IPv6 address stands in brackets where a port follows."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.%]+\]|[^\s:/\[\]]+)(?::(\d{1,5}))?|([0-9a-fA-F]*:[0-9a-fA-F:.%]+)", address)
    if match is None or int(match[2] or PORT) not in range(1, 1 << 16):
        return None
    return (match[1] or match[3]).strip("[]"), int(match[2] or PORT)


def first_host(hosts: str) -> str | None:
    """The first host of a list as SLURM writes it: `node[07-09,12],gpu3` begins with node07."""
    match = re.match(r"([^,\[]*)(?:\[([^\]]*)\])?([^,]*)", hosts.strip())
    if match is None or not match[0]:
        return None
    return match[1] + re.split("[,-]", match[2] or "")[0] + match[3]


def _tasks_of_node(counts: str, node: int) -> int | None:
    """The number of tasks of one node: SLURM writes `8(x3),4` for three nodes with 8 and one with 4."""
    each: list[int] = []
    for part in counts.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if match is None:
            return None
        each += [int(match[1])] * int(match[2] or 1)
    return each[node] if node < len(each) else None
