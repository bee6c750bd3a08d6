"""What launchers and schedulers say of a process, read in one place."""

from __future__ import annotations

import pytest

from autotrain_llm.context.cluster import (
    MPI,
    SKYPILOT,
    SLURM,
    TORCHRUN,
    TRAINJOB,
    cluster_of,
    first_host,
    host_and_port,
)
from autotrain_llm.context.machine import Gpu, Machine, Requested

MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "MASTER_ADDR": "node-1",
}
SRUN = {
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_PROCID": "1",
    "SLURM_NODEID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_JOB_ID": "4711",
}
SKY = {
    "SKYPILOT_NUM_NODES": "2",
    "SKYPILOT_NODE_RANK": "1",
    "SKYPILOT_NODE_IPS": "10.0.0.4\n10.0.0.5",
    "SKYPILOT_NUM_GPUS_PER_NODE": "8",
    "SKYPILOT_TASK_ID": "sky-2026-01-01-00-00-00-000000_mine-1",
}
PODS = {
    "PET_NNODES": "4",
    "PET_NPROC_PER_NODE": "auto",
    "PET_NODE_RANK": "2",
    "PET_MASTER_ADDR": "mine-node-0-0.mine",
    "PET_MASTER_PORT": "29400",
}


def test_a_process_that_nothing_has_started_is_alone():
    alone = cluster_of({})
    assert (alone.world_size, alone.rank, alone.nodes, alone.launcher) == (1, 0, 1, "")
    assert alone.is_first_process and not alone.is_group and not alone.was_restarted and alone.fault is None


def test_torchrun_numbers_the_processes_of_a_group():
    names = {
        "RANK": "5",
        "WORLD_SIZE": "8",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "4",
        "GROUP_RANK": "1",
        "GROUP_WORLD_SIZE": "2",
        **MEETING,
    }
    place = cluster_of(names | SRUN)  # torchrun inside of srun
    assert place.launcher == TORCHRUN and place.is_group and not place.is_first_process
    assert (place.rank, place.world_size, place.local_rank, place.local_world, place.nodes) == (5, 8, 1, 4, 2)
    assert place.torch_variables() == {}


def test_mpirun_numbers_the_processes_of_a_group_for_torch():
    place = cluster_of(OPEN_MPI)
    assert (place.launcher, place.is_group, place.rank, place.world_size) == (MPI, True, 3, 4)
    variables = place.torch_variables()
    assert variables["RANK"] == "3" and variables["LOCAL_RANK"] == "1" and variables["MASTER_ADDR"] == "node-1"
    assert cluster_of({"PMI_RANK": "1", "PMI_SIZE": "2"}).torch_variables()["MASTER_ADDR"] == "127.0.0.1"


def test_a_task_of_srun_on_each_node_starts_the_processes_of_its_node():
    place = cluster_of(SRUN)
    assert (place.launcher, place.is_group, place.nodes, place.node, place.head) == (SLURM, False, 2, 1, "gpu07")
    assert not place.is_first_process and place.port == 24711


def test_tasks_of_srun_for_each_gpu_are_a_group():
    place = cluster_of(
        SRUN
        | {"SLURM_STEP_NUM_TASKS": "6", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "4,2"}
    )
    assert (place.is_group, place.rank, place.world_size, place.local_world) == (True, 5, 6, 2)
    assert place.torch_variables()["MASTER_PORT"] == "24711"


@pytest.mark.parametrize("step", [{}, {"SLURM_STEP_NUM_TASKS": "1"}])
def test_in_a_batch_script_and_as_a_single_task_a_process_is_alone(step):
    script = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "8", "SLURM_JOB_NUM_NODES": "2", "SLURM_PROCID": "0"}
    assert cluster_of(script | step).nodes == 1


def test_a_node_of_skypilot_knows_the_others():
    place = cluster_of(SKY)
    assert (place.launcher, place.nodes, place.node, place.head, place.address) == (
        SKYPILOT,
        2,
        1,
        "10.0.0.4",
        "10.0.0.5",
    )
    assert place.per_node == 8 and not place.was_restarted
    assert cluster_of(SKY | {"SKYPILOT_TASK_ID": "sky-managed-2026-01-01_mine_1-0"}).was_restarted


def test_a_pod_of_a_trainjob_knows_the_others():
    place = cluster_of(PODS)
    assert (place.launcher, place.nodes, place.node, place.port, place.per_node) == (TRAINJOB, 4, 2, 29400, None)
    assert cluster_of(PODS | {"PET_NNODES": "1:4", "PET_NPROC_PER_NODE": "2"}).per_node == 2


@pytest.mark.parametrize("name", ["TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"])
def test_a_command_that_was_started_again_knows_it(name):
    assert cluster_of({name: "1"}).was_restarted and not cluster_of({name: "0"}).was_restarted


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"WORLD_SIZE": "two", "RANK": "0"}, "WORLD_SIZE is 'two'"),
        ({"WORLD_SIZE": "2"}, "RANK is not set"),
        ({"WORLD_SIZE": "0", "RANK": "0"}, "must be 1 or more"),
        ({"RANK": "3"}, "WORLD_SIZE is not set"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "ranks go from 0 to 1"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR and MASTER_PORT, where they meet, are not set"),
        ({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "node-1"}, "MASTER_PORT, where they meet, is not set"),
        ({**OPEN_MPI, "OMPI_COMM_WORLD_RANK": "4"}, "OMPI_COMM_WORLD_SIZE is 4"),
        ({name: value for name, value in OPEN_MPI.items() if name != "MASTER_ADDR"}, "MASTER_ADDR"),
        ({**PODS, "PET_NNODES": "many"}, "PET_NNODES"),
    ],
)
def test_variables_that_contradict_each_other_are_a_fault_and_the_process_runs_alone(environment, words):
    place = cluster_of(environment)
    assert words in str(place.fault) and not place.is_group and place.is_first_process


@pytest.mark.parametrize(
    ("hosts", "first"),
    [("gpu1", "gpu1"), ("gpu[07-09,12],cpu3", "gpu07"), ("a[1,3]-ib,b", "a1-ib"), ("n1,n2", "n1"), ("", None)],
)
def test_the_first_host_of_a_list_of_slurm(hosts, first):
    assert first_host(hosts) == first


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("node-1", ("node-1", 29400)),
        ("node-1:4000", ("node-1", 4000)),
        ("10.0.0.4:1", ("10.0.0.4", 1)),
        ("fe80::1", ("fe80::1", 29400)),
        ("[fe80::1]:77", ("fe80::1", 77)),
        ("node-1:99999", None),
        ("tcp://node-1", None),
        ("node 1", None),
        ("", None),
    ],
)
def test_an_address_has_a_host_and_a_port(address, parts):
    assert host_and_port(address) == parts


def test_a_command_starts_a_process_for_each_gpu_in_sight_unless_it_says_how_many():
    def on(gpus: int, environment: dict[str, str], **requested: int) -> Machine:
        machine = Machine(environment, Requested(**requested))
        machine.gpus = (Gpu("NVIDIA H200", 2**37, 9.0),) * gpus
        return machine

    assert on(0, {}).processes == 1 and not on(0, {}).starts_processes
    assert on(8, {}).processes == 8 and on(8, {}).starts_processes
    assert on(8, {}, processes=2).processes == 2
    assert on(8, {}, nodes=4).processes == 32
    assert on(8, SRUN).processes == 16
    assert on(0, SKY).processes == 16
    assert on(8, SRUN, nodes=4).processes == 32  # which is refused
    group = on(8, {"RANK": "0", "WORLD_SIZE": "2", **MEETING}, processes=4)
    assert group.processes == 2 and not group.starts_processes
