"""How many processes are started, where, and what the launcher or the scheduler says of it."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.cluster import host_and_port
from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.example import SFT, TWO_PROCESSES, Example, of_flags, where
from autotrain_llm.declare.finding import ERROR, WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.rule import declare_finding, rule
from autotrain_llm.declare.text import plural
from autotrain_llm.params.distributed import FULL
from autotrain_llm.params.launching import AUTO, KUBERNETES, LOCAL, SKY
from autotrain_llm.planning.job_options import GPUS, faults, mended
from autotrain_llm.planning.sharding import is_divided

ROWS = f"{SFT}rows.jsonl"
JOB = "--launch slurm --num-processes 8 --output-dir runs/mine"
ON_KUBERNETES = (
    """--launch kubernetes --num-processes 8 --output-dir runs/mine --launch-options '{"image": "mine:1"%s}'"""
)
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
    that don't exist, or prints nothing because only rank 0 prints. Where they are complete, whether there are others is known only when they meet: the run waits for them,
    says so after 10 seconds, and ends after 15 minutes.
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


@rule("P359", refuses="--launch slurm --num-processes 8", accepts=JOB)
def a_job_needs_a_folder_that_outlives_it(config: Config) -> Iterator[Finding]:
    """`--launch slurm`, `sky` or `kubernetes` without `--output-dir`.

    Why: a job can be started again, by itself or by you, and goes on from its checkpoints only if it finds them: in a folder that all its nodes share and
    that stays.
    Fix: name it.
    """
    if config.launch not in (None, LOCAL) and not config.output_dir:
        yield Finding(
            f"--launch {config.launch} needs --output-dir, a folder that the nodes of the job share and that stays",
            fix="--output-dir <folder>",
            parameters=("launch", "output_dir"),
        )


@rule("P360", refuses=JOB.replace(" --num-processes 8", ""), accepts=JOB)
def a_job_says_how_many_gpus_a_node_has(config: Config) -> Iterator[Finding]:
    """`--launch slurm`, `sky` or `kubernetes` without a number of processes and without GPUs in `--launch-options`.

    Why: the GPUs of another machine can't be seen from here, and without asking for any a job gets none.
    Fix: `--num-processes`, one for each GPU of a node; for SkyPilot the kind of GPU in `--launch-options`. For a job on processors, `gpus` is 0 there.
    """
    options = config.launch_options or {}
    if config.launch in (None, LOCAL) or GPUS in options:
        return
    found = tuple(faults(config.launch, options))
    if GPUS in mended(options, found):
        return  # a finding about the option says how it was meant
    if config.num_processes == AUTO or config.launch == SKY:
        kind = '\'{"gpus": "H100:8"}\'' if config.launch == SKY else None
        yield Finding(
            f"--launch {config.launch} does not say which GPUs a node has",
            fix=f"--launch-options {kind}" if kind else "--num-processes <GPUs of a node>",
            parameters=("launch", "launch_options" if kind else "num_processes"),
        )


@rule("P361", refuses=ON_KUBERNETES % ', "queue": "a"', accepts=ON_KUBERNETES % "")
def what_a_job_asks_for_is_known_where_it_runs(config: Config) -> Iterator[Finding]:
    """`--launch-options` has something that this scheduler does not know or has from another flag, a time or size that it would refuse, is given without
    `--launch`, or lacks the image that Kubernetes needs.

    Why: it would be left out without a word, or the job refused when it is submitted, perhaps later and somewhere else. The options are those of sbatch (SLURM
    24.05, with pyxis), of a task's resources (SkyPilot 0.14) and of a pod. For an option that another plugin of a SLURM cluster may add, this is a warning.
    Fix: the option that was probably meant, or the flag that the finding names.
    """
    options = config.launch_options or {}
    if config.launch in (None, LOCAL):
        if config.launch_options is not None:
            yield Finding(
                "--launch-options has no effect without --launch slurm, sky or kubernetes",
                changes={"launch_options": None},
                parameters=("launch_options",),
            )
        return
    found = tuple(faults(config.launch, options))
    for fault in found:
        yield Finding(
            f"--launch-options {fault.name}: {fault.message}",
            fix=None if fault.meant else f"leave {fault.name} out",
            guess={"launch_options": mended(options, found)} if fault.meant else EMPTY,
            parameters=("launch_options",),
            severity=ERROR if fault.is_certain else WARNING,
        )
    if config.launch == KUBERNETES and not options.get("image"):
        yield Finding(
            "--launch kubernetes needs the image of its containers, with autotrain-llm installed",
            fix="""--launch-options '{"image": "<registry>/<name>:<tag>"}'""",
            parameters=("launch_options",),
        )


@rule(
    "E519",
    WARNING,
    example=Example(
        f"ACCELERATE_DYNAMO_MODE=default ACCELERATE_MIXED_PRECISION=fp16 {TWO_PROCESSES}{ROWS}{OWN_FOLDER}",
        f"ACCELERATE_DYNAMO_MODE=default ACCELERATE_MIXED_PRECISION=fp16 {TWO_PROCESSES}{ROWS}{OWN_FOLDER} --mixed-precision fp16",
        on="on a machine with two GPUs",
        on_right="on a machine with two GPUs",
    ),
)
def the_config_of_accelerate_says_what_the_flags_say(config: Config, machine: Machine) -> Iterator[Finding]:
    """The config of `accelerate launch` asks for a precision, for FSDP or for DeepSpeed, and the flags do not.

    Why: of accelerate's config the number of processes and machines is used. What is computed follows from this command's flags, so that the plan and
    `command.sh` have all of it.
    Fix: the flag that means the same.
    """
    environment = machine.environment
    if "ACCELERATE_DYNAMO_MODE" not in environment:  # which only `accelerate launch` sets
        return
    precision = environment.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision != "no" and precision != config.mixed_precision:
        is_known = precision in PARAMS["mixed_precision"].choices
        yield Finding(
            f"the config of accelerate launch asks for {precision}, and --mixed-precision is {config.mixed_precision or 'not given'}",
            changes={"mixed_precision": precision} if is_known else {},
            fix=None if is_known else "--mixed-precision bf16",
            parameters=("mixed_precision",),
        )
    engines = {
        "FSDP": "ACCELERATE_USE_FSDP",
        "DeepSpeed": "ACCELERATE_USE_DEEPSPEED",
        "Megatron-LM": "ACCELERATE_USE_MEGATRON_LM",
    }
    for name, variable in engines.items():
        if environment.get(variable, "").lower() == "true" and not is_divided(config):
            yield Finding(
                f"the config of accelerate launch asks for {name}, and --shard is {config.shard}",
                changes={"shard": FULL},
                parameters=("shard",),
            )


NO_PROGRAM = declare_finding(
    "E515",
    """The program that submits a job is not on this machine: sbatch, sky or kubectl.

    Why: this package writes the file of the job, and the scheduler's own program takes it.
    Fix: run the command where the program is; or print the file with `--dry-run`, and submit it there.
    """,
    example=Example(f"{ROWS} {JOB}", f"{ROWS} {JOB} --dry-run", runs=True),
)
NOT_FROM_PYTHON = declare_finding(
    "P362",
    """`launch` is given to a function of the package.

    Why: a job carries out a command, and what a function returns would be on another machine.
    Fix: the command `autotrain llm --launch …`.
    """,
    example=Example(f"{ROWS} --launch slurm", ROWS, on="in Python: plan(launch=…)"),
)
