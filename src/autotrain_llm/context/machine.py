"""The machine that trains: its devices, memory, types and packages, looked up without importing torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from autotrain_llm.context.cluster import Cluster, cluster_of
from autotrain_llm.declare.record import Record

BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
FIRST_BF16_GPU = 8.0  # compute capability of the A100
FIRST_FLASH_GPU = 8.0
GPU, CPU = "gpu", "cpu"  # kinds of device
# Memory limit of the control group, which a container sets: cgroup v2 and v1.
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
GPU_PACKAGES = (
    "bitsandbytes",
    "flash_attn",
    "flash_attn_interface",
    "vllm",
)  # packages that only a machine with a GPU has


class Gpu(Record):
    """A CUDA device: its name, memory in bytes and compute capability."""

    name: str
    memory: int
    capability: float


class Requested(Record):
    """How many processes a command asks for on each node, and how many nodes; None for what the machine and the scheduler say."""

    processes: int | None = None
    nodes: int | None = None


class Machine:
    """This machine, with the processes that a command is to have on it. Each property is looked up on first use and only once."""

    def __init__(self, environment: Mapping[str, str] | None = None, requested: Requested | None = None) -> None:
        self.environment = os.environ if environment is None else environment
        self.requested = requested or Requested()

    @cached_property
    def cluster(self) -> Cluster:
        """The place of this process among others, as a launcher or a scheduler has told it."""
        return cluster_of(self.environment)

    @cached_property
    def gpus(self) -> tuple[Gpu, ...]:
        """The CUDA devices that this process may use, as the driver reports them."""
        visible = self.environment.get("CUDA_VISIBLE_DEVICES")
        if visible is not None and visible.strip() in ("", "-1"):
            return ()
        program = self._program("nvidia-smi")
        if not program:
            return ()
        import subprocess

        query = [program, "--query-gpu=index,uuid,name,memory.total,compute_cap", "--format=csv,noheader,nounits"]
        try:
            answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return ()
        rows = [[cell.strip() for cell in line.split(",")] for line in answer.splitlines()]
        devices = [(row[0], row[1], self._gpu(*row[2:])) for row in rows if len(row) == 5 and is_number(row[4])]
        if visible is None:
            return tuple(gpu for _, _, gpu in devices)
        visible_names = [name.strip() for name in visible.split(",") if name.strip()]
        return tuple(
            gpu
            for name in visible_names
            for index, uuid, gpu in devices
            if name == index or (name.startswith("GPU-") and uuid.startswith(name))
        )

    def _gpu(self, name: str, memory: str, capability: str) -> Gpu:
        """A device that shares the machine's memory reports no size: the machine's is used."""
        size = int(float(memory)) * 2**20 if is_number(memory) else self.memory
        return Gpu(name, size, float(capability))

    def _program(self, name: str) -> str | None:
        """The path of a program. `shutil.which` does the same, but importing shutil takes longer than all else here."""
        folders = self.environment.get("PATH", os.defpath).split(os.pathsep)
        paths = (os.path.join(folder, name) for folder in folders)  # noqa: PTH118
        return next((path for path in paths if os.access(path, os.X_OK)), None)

    @property
    def cpp_compiler_name(self) -> str:
        """The program with which torch compiles C++ (2.13)."""
        return self.environment.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")

    @property
    def cpp_compiler(self) -> str | None:
        """Its path; None if it is not installed."""
        return self._program(self.cpp_compiler_name)

    @property
    def has_cuda(self) -> bool:
        return bool(self.gpus)

    @property
    def has_unused_gpu(self) -> bool:
        """Whether this is a Mac whose GPU torch knows as `mps`: it trains on its processor."""
        return sys.platform == "darwin" and os.uname().machine == "arm64" and not self.gpus

    @cached_property
    def computes_bf16(self) -> bool:
        """Whether the device computes in bf16 natively and does not emulate it."""
        if self.gpus:
            return all(gpu.capability >= FIRST_BF16_GPU for gpu in self.gpus)
        return any(flag in self.processor_flags for flag in BF16_INSTRUCTIONS)

    @cached_property
    def processor_flags(self) -> frozenset[str]:
        try:
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        except OSError:
            return frozenset()
        return frozenset(next((line.split(":", 1)[1] for line in lines if line.startswith("flags")), "").split())

    @cached_property
    def memory(self) -> int:
        """Bytes of main memory, or of the container's limit if that is lower."""
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return min([total, *(limit for limit in map(_number_in, LIMITS) if limit)])

    @property
    def cores(self) -> int:
        return os.cpu_count() or 1

    @property
    def device_memory(self) -> int:
        """Bytes of memory on the device that trains: the smallest GPU's, else the machine's."""
        return min(gpu.memory for gpu in self.gpus) if self.gpus else self.memory

    @property
    def is_as_named(self) -> bool:
        """Whether the device has exactly the memory that `--target-memory` names."""
        return False

    @property
    def supposed(self) -> str | None:
        """The assumptions about a device that is not here, in words; None for this machine's own device."""
        return None

    @property
    def processes(self) -> int:
        """How many processes train together: those of the group that this one is of, else those that it is going to start, on all nodes."""
        return self.cluster.world_size if self.cluster.is_group else self.nodes * self.processes_per_node

    @property
    def nodes(self) -> int:
        """How many nodes train together: `--num-nodes`, else what the scheduler says."""
        return self.requested.nodes or self.cluster.nodes

    @property
    def processes_per_node(self) -> int:
        """`--num-processes`, else what the scheduler says, else one for each GPU in sight, and one on a processor."""
        return self.requested.processes or self.cluster.per_node or len(self.gpus) or 1

    @property
    def starts_processes(self) -> bool:
        """Whether this process starts those that train."""
        return self.processes > 1 and not self.cluster.is_group

    @property
    def local_processes(self) -> int:
        """How many of them are on this machine (torchrun's LOCAL_WORLD_SIZE); all, if that is not said."""
        if not self.cluster.is_group:
            return self.processes_per_node
        local = self.environment.get("LOCAL_WORLD_SIZE", "")
        return min(int(local), self.processes) if local.isdecimal() and int(local) > 0 else self.processes

    @property
    def is_first_process(self) -> bool:
        return self.cluster.is_first_process

    @property
    def hub_token(self) -> str | None:
        """A token for the Hub from the environment or from an earlier login."""
        token = self.environment.get("HF_TOKEN") or self.environment.get("HUGGING_FACE_HUB_TOKEN")
        if token:
            return token
        home = self.environment.get("HF_HOME") or str(Path("~/.cache/huggingface").expanduser())
        file = Path(self.environment.get("HF_TOKEN_PATH") or Path(home) / "token")
        try:
            return file.read_text(encoding="utf-8").strip() or None
        except OSError:
            return None

    @property
    def has_wandb_login(self) -> bool:
        """Whether there is a key for Weights & Biases in the environment or in .netrc."""
        import netrc
        from urllib.parse import urlsplit

        environment = self.environment
        if environment.get("WANDB_API_KEY") or environment.get("WANDB_IDENTITY_TOKEN_FILE"):
            return True
        host = urlsplit(environment.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
        try:
            return netrc.netrc(environment.get("NETRC")).authenticators(host) is not None
        except (OSError, netrc.NetrcParseError):
            return False

    def has_package(self, name: str) -> bool:
        return find_spec(name) is not None

    def version_of(self, name: str) -> str | None:
        """The version of an installed package from its metadata; None if it is not known."""
        from autotrain_llm.context.versions import version_of

        return version_of(name)


class SimulatedMachine(Machine):
    """A machine that is not here: its device is a GPU (like this machine's, if it has one) or `cpu`, with `memory` bytes."""

    def __init__(self, memory: int, kind: str, here: Machine) -> None:
        super().__init__(here.environment, here.requested)
        self.kind, self.here, self.target_bytes = kind, here, memory

    @cached_property
    def gpus(self) -> tuple[Gpu, ...]:
        """As many as there are to be processes on a node."""
        if self.kind == CPU:
            return ()
        template = self.here.gpus[:1]
        name = template[0].name if template else f"with {self.target_bytes / 2**30:g} GiB"
        gpu = Gpu(name, self.target_bytes, template[0].capability if template else FIRST_BF16_GPU)
        return (gpu,) * (self.requested.processes or self.cluster.per_node or 1)

    @cached_property
    def memory(self) -> int:
        return self.target_bytes if self.kind == CPU else self.here.memory

    @property
    def is_as_named(self) -> bool:
        return True

    @property
    def supposed(self) -> str:
        if self.kind == CPU:
            return "a processor like this one"
        what = f"{self.gpus[0].name}, like the one here" if self.here.gpus else "a GPU that computes in bf16"
        return f"{what}, with the packages for it"

    def has_package(self, name: str) -> bool:
        return (self.kind == GPU and name in GPU_PACKAGES) or self.here.has_package(name)

    def version_of(self, name: str) -> str | None:
        """Packages that are assumed to be there are assumed to have a version that works."""
        return None if self.kind == GPU and name in GPU_PACKAGES else self.here.version_of(name)


class LimitedMachine(Machine):
    """This machine, with at most `memory` bytes of its device to use."""

    def __init__(self, memory: int, here: Machine) -> None:
        super().__init__(here.environment, here.requested)
        self.here, self.target_bytes = here, memory

    @cached_property
    def gpus(self) -> tuple[Gpu, ...]:
        return self.here.gpus

    @property
    def is_as_named(self) -> bool:
        return self.target_bytes <= self.here.device_memory

    @property
    def device_memory(self) -> int:
        return min(self.target_bytes, self.here.device_memory)


def target_memory(text: str) -> tuple[str, int] | None:
    """The device kind and bytes that `--target-memory` names (`24GiB`, `cpu:16GiB`); None if the text is not a size.

    GB is read as GiB: the sizes of memory modules are sold that way.
    """
    import re

    match = re.fullmatch(r"(?:(cpu|gpu|cuda):)?\s*(\d+(?:\.\d+)?)\s*([mgt])i?b?", text.strip().lower())
    size = int(float(match[2]) * 1024 ** (2 + "mgt".index(match[3]))) if match else 0
    return (CPU if match[1] == CPU else GPU, size) if match and size else None


def machine_for(target: str | None, *, elsewhere: bool, requested: Requested | None = None) -> Machine:
    """The machine that a plan is for: this one; with a target, a simulated one (`elsewhere`) or this one limited to the target. `requested` are the
    processes that a command asks for."""
    here = Machine(requested=requested)
    device = target_memory(target) if target else None
    if device is None:
        return here
    kind, size = device
    return SimulatedMachine(size, kind, here) if elsewhere else LimitedMachine(size, here)


def _number_in(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdigit() else None


def is_number(text: str) -> bool:
    """Whether a cell of nvidia-smi's output is a number; unknown values are [N/A]."""
    return text.replace(".", "", 1).isdigit()
