"""How many processes are started, where, and what the launcher or the scheduler says of it."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.cluster import host_and_port
from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.example import SFT, TWO_PROCESSES, Example, of_flags, where
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.text import plural

ROWS = f"{SFT}rows.jsonl"
OWN_FOLDER = " --output-dir runs/mine"
TWO_NODES = "--num-nodes 2 --output-dir runs/mine"


@rule("E507", example=where("on a machine with two GPUs", "--num-processes 3", "--num-processes 2"))
def a_gpu_has_one_process(machine: Machine) -> Iterator[Finding]:
    """More processes are to run on this node than it has GPUs.

    Why: two processes that train one model can't share a GPU: NCCL, by which they exchange gradients, refuses it.
    Fix: one for each GPU in sight, which is the default; `CUDA_VISIBLE_DEVICES` hides others.
    """
    cluster, gpus = machine.cluster, len(machine.gpus)
    processes = cluster.local_world if cluster.is_group else machine.processes_per_node
    if processes is None or not 0 < gpus < processes:
        return
    who = (
        f"{cluster.launcher} has started {processes} processes"
        if cluster.is_group
        else f"--num-processes is {processes}"
    )
    yield Finding(
        f"{who}, and {plural(gpus, 'GPU')} {'is' if gpus == 1 else 'are'} in sight",
        changes={} if cluster.is_group else {"num_processes": gpus},
        fix=f"start {gpus}" if cluster.is_group else None,
        parameters=("num_processes",),
    )


@rule("E509", example=Example(TWO_PROCESSES + ROWS, TWO_PROCESSES + ROWS + OWN_FOLDER))
def several_processes_need_one_output_folder(config: Config, machine: Machine) -> Iterator[Finding]:
    """Several processes were started by something else, or several nodes train together, without `--output-dir`.

    Why: each process would create an output folder of its own. Where this command starts the processes, on one machine, they have one.
    Fix: name the folder; of several nodes one that they share.
    """
    separate = machine.cluster.is_group or machine.nodes > 1
    if machine.processes > 1 and separate and not (config.output_dir or config.resume_from_checkpoint):
        who = "were started" if machine.cluster.is_group else f"are on {plural(machine.nodes, 'node')}"
        yield Finding(
            f"{machine.processes} processes {who}, and they need one --output-dir to share",
            fix="--output-dir runs/<name>",
            parameters=("output_dir",),
        )


@rule("E511", example=Example("RANK=3 " + ROWS, ROWS))
def rank_and_world_size_must_be_those_of_a_launcher(machine: Machine) -> Iterator[Finding]:
    """The variables by which torchrun, mpirun, SLURM, SkyPilot or Kubernetes number processes and nodes contradict each other, or are no numbers.

    Why: torchrun sets `RANK` and `WORLD_SIZE` for each process that it starts. With values left over from something else, a process waits for others
    that don't exist, or prints nothing because only rank 0 prints.
    Fix: unset them, or start with one of these.
    """
    if machine.cluster.fault is not None:
        yield Finding(
            machine.cluster.fault,
            fix="unset RANK WORLD_SIZE LOCAL_RANK, or start with torchrun",
            parameters=(),
        )


@rule("E512", example=of_flags(TWO_NODES, f"{TWO_NODES} --head-address node-1"))
def several_nodes_need_the_address_of_the_first(config: Config, machine: Machine) -> Iterator[Finding]:
    """Several nodes are to train together, and it is not known where they meet; or `--head-address` is no host and port.

    Why: the processes of all nodes find each other at the first one. SLURM (in `srun`), SkyPilot and a Kubeflow TrainJob say which it is.
    Fix: `--head-address` with its host name or address, the same on all nodes; or start the command by one of these.
    """
    if machine.cluster.is_group:
        return
    if config.head_address is not None and host_and_port(config.head_address) is None:
        yield Finding(
            f"--head-address {config.head_address} is no host with a port, such as node-1:29400",
            fix="--head-address HOST[:PORT]",
            parameters=("head_address",),
        )
    elif machine.nodes > 1 and not (config.head_address or machine.cluster.head):
        yield Finding(
            f"{machine.nodes} nodes train together, and nothing says which is the first",
            fix="--head-address <its host name>, the same on each node; or srun, one task for each node",
            parameters=("head_address", "num_nodes"),
        )


@rule(
    "E513",
    example=Example(
        f"{TWO_PROCESSES}{ROWS}{OWN_FOLDER} --num-processes 4", f"{TWO_PROCESSES}{ROWS}{OWN_FOLDER} --num-processes 2"
    ),
)
def processes_and_nodes_are_those_that_were_started(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--num-processes` or `--num-nodes` is another number than torchrun, mpirun or the scheduler has started.

    Why: the run would have other batches than the command says.
    Fix: leave the flag out: what has been started is used.
    """
    cluster = machine.cluster
    if not cluster.launcher:
        return
    started = {"num_processes": cluster.local_world if cluster.is_group else None}
    started["num_nodes"] = cluster.nodes if cluster.nodes > 1 else None
    for name, number in started.items():
        value = config.value_of(name)
        if config.given(name) and isinstance(value, int) and number not in (None, value):
            what = "processes on this node" if name == "num_processes" else "nodes"
            yield Finding(
                f"{flag_of(name)} is {value}, and {cluster.launcher} has {'started ' if cluster.is_group else ''}{number} {what}",
                changes={name: None},
                parameters=(name,),
            )


@rule(
    "E514",
    WARNING,
    example=of_flags("--head-address node-1", "--num-nodes 2 --output-dir runs/mine --head-address node-1"),
)
def a_setting_of_the_launch_has_something_to_launch(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--max-restarts` where this command starts no processes, in a sweep or under torchrun; or `--head-address` where there is one node.

    Why: it has no effect. torchrun has a `--max-restarts` of its own, and a sweep that was stopped goes on with `--resume`.
    Fix: leave it out.
    """
    group = machine.cluster.is_group
    if config.max_restarts and (group or config.use_sweep):
        why = (
            f"{machine.cluster.launcher} has started the processes"
            if group
            else "a sweep carries out its trials itself"
        )
        yield Finding(
            f"--max-restarts {config.max_restarts} has no effect: {why}",
            changes={"max_restarts": None},
            parameters=("max_restarts",),
        )
    if config.head_address and (group or machine.nodes == 1):
        why = f"{machine.cluster.launcher} has started the processes" if group else "the run is on one node"
        yield Finding(
            f"--head-address {config.head_address} has no effect: {why}",
            changes={"head_address": None},
            parameters=("head_address",),
        )
