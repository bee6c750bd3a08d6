"""Where processes are started, how many, and how often again. What they divide among them is in `distributed.py`."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, NO_INFLUENCE, NOT_NEGATIVE, group, param

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

AUTO = "auto"
LOCAL, SLURM, SKY, KUBERNETES = "local", "slurm", "sky", "kubernetes"


@group("Launching", order=56, searchable=False, on_resume=NO_INFLUENCE)
class Launching:
    """Where the run is started, and in how many processes."""

    launch: str = param(
        LOCAL,
        "Where the command is carried out: on this machine, or as a job; with --dry-run the job's file is printed, else it is submitted.",
        choices=(LOCAL, SLURM, SKY, KUBERNETES),
        command=True,
        aliases="launcher",
        choice_aliases={
            LOCAL: "torchrun accelerate none",
            SLURM: "sbatch srun",
            SKY: "skypilot",
            KUBERNETES: "k8s kubectl",
        },
    )
    launch_options: dict[str, Any] | None = param(
        None,
        "What the job asks for: gpus of a node and setup lines; of sbatch any option, of SkyPilot its resources, of Kubernetes image and namespace.",
        metavar="JSON|FILE",
        command=True,
    )
    num_processes: int | str = param(
        AUTO,
        "Processes on each node, which train one model together; auto is one for each GPU in sight, and one on a processor.",
        within=AT_LEAST_ONE,
        also=(AUTO,),
        in_trials=False,
        aliases="gpus gpus_per_node n_gpu n_gpus n_gpus_per_node nproc nproc_per_node num_gpus num_gpus_per_node num_workers_per_node",
    )
    num_nodes: int | None = param(
        None,
        "Machines that train one model together; the same command runs on each of them.",
        within=AT_LEAST_ONE,
        default_words="what SLURM, SkyPilot or a Kubeflow TrainJob says, else 1",
        in_trials=False,
        aliases="nnodes nodes num_machines",
    )
    head_address: str | None = param(
        None,
        "The first of several nodes, where the others find it.",
        metavar="HOST[:PORT]",
        default_words="what SLURM, SkyPilot or a Kubeflow TrainJob says",
        machine_specific=True,
        in_trials=False,
        aliases="main_process_ip master_addr rdzv_endpoint",
    )
    max_restarts: int = param(
        0,
        "Start all processes again when one has failed or was killed, at most N times; they go on from the newest checkpoint.",
        within=NOT_NEGATIVE,
        in_trials=False,
    )
