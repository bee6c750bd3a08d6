"""The files of jobs, as the programs that take them read them."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import autotrain_llm
from autotrain_llm.cli.main import main
from autotrain_llm.declare.finding import Refused
from autotrain_llm.params.launching import KUBERNETES, SKY, SLURM
from autotrain_llm.planning import job_options
from autotrain_llm.planning.job_files import Job, job_file, job_of

AWKWARD = 'runs/it\'s "mine" $HOME'
VALUES: dict[str, Any] = {
    "trainer": "sft",
    "model": "org/model",
    "lr": 2e-5,
    "peft": True,
    "packing": False,
    "sweep_params": {"lr": [1e-5, 2e-5]},
    "output_dir": AWKWARD,
    "num_nodes": 4,
    "num_processes": 8,
    "token": "hf_secret",
    "dry_run": True,
    "format": "json",
}
WORDS = (
    *("autotrain", "llm", "--trainer", "sft", "--model", "org/model", "--lr", "2e-05", "--peft", "--no-packing"),
    *("--sweep-params", '{"lr": [1e-05, 2e-05]}', "--output-dir", AWKWARD),
    *("--num-nodes", "4", "--num-processes", "8", "--resume", "auto"),
)


def job(launch: str, **options: Any) -> Job:
    return job_of({**VALUES, "launch": launch, "launch_options": options})


def directives(text: str) -> dict[str, str]:
    """What sbatch reads of a script: the lines before its first command, with quotes as a shell has them."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#SBATCH "):
            (word,) = shlex.split(line.removeprefix("#SBATCH "))
            name, _, value = word.removeprefix("--").partition("=")
            found[name] = value
        elif line and not line.startswith("#"):
            break
    return found


def commands(text: str) -> list[list[str]]:
    """The commands of a script as a shell splits them."""
    return [
        shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines() if line[:1] not in ("#", "")
    ]


def test_a_job_has_the_command_without_secrets_and_goes_on_where_it_was():
    assert job(SLURM).words == WORDS
    for name, value in (
        ("resume", True),
        ("overwrite", True),
        ("resume_from_checkpoint", "runs/a/checkpoints/checkpoint-1"),
    ):
        assert "auto" not in job_of({**VALUES, name: value}).words
    assert all("hf_secret" not in job_file(launch, job(launch, image="mine")) for launch in (SLURM, SKY, KUBERNETES))


def test_a_batch_script_starts_a_task_on_each_node_and_is_queued_again():
    text = job_file(
        SLURM,
        job(
            SLURM,
            partition="a b",
            time="1-00:00:00",
            exclusive=True,
            setup="module load cuda\nsource venv/bin/activate",
        ),
    )
    asked = directives(text)
    assert asked["nodes"] == "4" and asked["ntasks-per-node"] == "1" and asked["gpus-per-node"] == "8"
    assert asked["partition"] == "a b" and asked["time"] == "1-00:00:00"
    assert {"requeue", "exclusive"} <= asked.keys() and asked["signal"] == "TERM@120"
    *setup, step = commands(text)
    assert ["module", "load", "cuda"] in setup and ["source", "venv/bin/activate"] in setup
    assert step[0] == "srun" and tuple(step[2:]) == WORDS
    assert subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).stderr == ""


def test_a_job_on_processors_asks_for_no_gpus():
    assert "gpus-per-node" not in directives(job_file(SLURM, job(SLURM, gpus=0)))
    assert "nvidia.com" not in job_file(KUBERNETES, job(KUBERNETES, image="mine", gpus=0))


def sky_task() -> dict[str, Any]:
    options = {"gpus": "H100:8", "use_spot": True, "workdir": ".", "setup": "pip install -e ."}
    task: dict[str, Any] = yaml.safe_load(job_file(SKY, job(SKY, **options)))
    return task


def test_a_task_of_skypilot_has_the_command_and_its_resources():
    task = sky_task()
    assert task["num_nodes"] == 4 and task["resources"] == {"accelerators": "H100:8", "use_spot": True}
    assert task["setup"] == "pip install -e ." and task["workdir"] == "."
    (run,) = commands(task["run"])
    assert tuple(run) == WORDS


def test_skypilot_takes_the_task():
    """SkyPilot's pins contradict those of other extras: it is there where somebody has installed it beside them."""
    schemas = pytest.importorskip("sky.utils.schemas")
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(sky_task(), schemas.get_task_schema())


def trainjob(**options: Any) -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load(job_file(KUBERNETES, job(KUBERNETES, image="mine:1", **options)))
    return made


def test_a_trainjob_has_a_pod_for_each_node_and_names_the_secret():
    made = trainjob(namespace="ml", secret="hub", memory="512Gi")
    assert made["metadata"] == {"name": "it-s-mine-home", "namespace": "ml"}
    trainer = made["spec"]["trainer"]
    assert trainer["numNodes"] == 4 and trainer["numProcPerNode"] == 8
    assert tuple(trainer["command"]) == WORDS
    assert trainer["resourcesPerNode"]["limits"] == {"nvidia.com/gpu": "8", "memory": "512Gi"}
    assert trainer["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "HF_TOKEN"}


def test_what_kubernetes_would_take_for_a_variable_stays_text():
    values = {**VALUES, "run_name": "$(HOME)", "launch_options": {"image": "mine"}}
    assert "$$(HOME)" in yaml.safe_load(job_file(KUBERNETES, job_of(values)))["spec"]["trainer"]["command"]


def test_the_models_of_kubeflow_trainer_take_the_trainjob():
    models = pytest.importorskip("kubeflow_trainer_api.models")
    made = trainjob(namespace="ml", secret="hub", cpu=8)
    read = models.TrainerV1alpha1TrainJob.from_dict(made)
    assert read.to_dict() == made, "nothing of it is unknown there"


# ---- the command


COMMAND = (
    "llm --trainer sft --model org/model --data-path s3.jsonl --lr 1e-4 --epochs 1 --batch-size 4 --num-processes 8"
)


def run(flags: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    status = main([*shlex.split(f"{COMMAND} {flags}"), "--format", "json"])
    return status, json.loads(capsys.readouterr().out)


def codes(document: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in document["findings"]]


def test_a_dry_run_prints_the_file_of_a_job_whose_data_is_elsewhere(capsys):
    status, document = run("--launch slurm --output-dir runs/a --dry-run", capsys)
    assert status == 0 and document["text"].startswith("#!/bin/bash\n#SBATCH")
    status, document = run("--launch slurm --output-dir runs/a --dry-run --lr -1", capsys)
    assert status == 2 and "P301" in codes(document)


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ("--launch slurm", "P359"),
        ("--launch sky --output-dir a", "P360"),
        ("--launch slurm --output-dir a --num-processes auto", "P360"),
        ("--launch kubernetes --output-dir a", "P361"),
        ("""--launch kubernetes --output-dir a --launch-options '{"image": "a", "queue": "b"}'""", "P361"),
        ("""--launch slurm --output-dir a --launch-options '{"a b": 1}'""", "P361"),
    ],
)
def test_what_a_job_lacks_is_said_before_it_waits_in_a_queue(flags, code, capsys):
    status, document = run(flags, capsys)
    assert status == 2 and code in codes(document)


def program(folder: Path, name: str, status: int = 0) -> Path:
    """A program that writes down what it is given."""
    path = folder / name
    given = folder / f"{name}.given"
    path.write_text(f'#!/bin/sh\necho "$@" > {given}\ncat >> {given}\necho "Submitted batch job 7"\nexit {status}\n')
    path.chmod(0o755)
    return given


def test_a_job_is_submitted_by_the_program_of_its_scheduler(tmp_path, monkeypatch, capsys):
    given = program(tmp_path, "sbatch")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    status, document = run("--launch slurm --output-dir runs/a", capsys)
    assert status == 0 and document["text"] == "Submitted batch job 7" and "srun" in given.read_text()
    given = program(tmp_path, "sky")
    status, _ = run("""--launch sky --output-dir /a --token hf_x --launch-options '{"gpus": "H100:8"}'""", capsys)
    assert status == 0 and given.read_text().startswith("jobs launch -y -n a --secret HF_TOKEN /")
    assert "hf_x" not in given.read_text()


def test_a_job_that_is_not_taken_and_a_program_that_is_not_there_are_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    status, document = run("--launch slurm --output-dir runs/a", capsys)
    assert status == 2 and codes(document) == ["E515"]
    program(tmp_path, "sbatch", status=1)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    status, document = run("--launch slurm --output-dir runs/a", capsys)
    assert status == 1 and "did not take the job" in document["findings"][-1]["message"]


@pytest.mark.parametrize("function", [autotrain_llm.plan, autotrain_llm.train])
def test_a_job_is_not_launched_from_python(function):
    with pytest.raises(Refused) as refused:
        function(launch="slurm", trainer="sft")
    assert [finding.code for finding in refused.value.findings] == ["P362"]


def faulty(launch: str, **options: Any) -> dict[str, Any]:
    """The options as they were probably meant, and how many of them a job can't have."""
    found = tuple(job_options.faults(launch, options))
    return {"faults": len(found), **job_options.mended(options, found)}


@pytest.mark.parametrize(
    ("launch", "written", "meant"),
    [
        (SLURM, {"partitoin": "gpu", "time": "24h"}, {"partition": "gpu", "time": "24:00:00"}),
        (SLURM, {"time": "1d 12h", "gpus_per_node": 4}, {"time": "1-12:00:00", "gpus": 4}),
        (SLURM, {"time-min": "90 minutes"}, {"time-min": "00:90:00"}),
        (SKY, {"gpu": "H100:8", "spot": True}, {"gpus": "H100:8", "use_spot": True}),
        (SKY, {"accelerators": "H100:8"}, {"gpus": "H100:8"}),
        (KUBERNETES, {"image": "a", "memroy": "64Gi"}, {"image": "a", "memory": "64Gi"}),
        (KUBERNETES, {"image": "a", "memory": "64 GB"}, {"image": "a", "memory": "64G"}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_an_option_that_the_scheduler_would_refuse_is_named_as_it_was_meant(
    launch: str, written: dict[str, Any], meant: dict[str, Any]
) -> None:
    found = faulty(launch, **written)
    assert found.pop("faults") and found == meant
    assert faulty(launch, **meant)["faults"] == 0


def test_what_the_schedulers_take_is_not_reported() -> None:
    for time in ("30", "90:00", "24:00:00", "2-12", "2-12:30", "7-00:00:00", "UNLIMITED"):
        assert faulty(SLURM, time=time, cpus_per_task=4, container_image="nvcr.io#a:1", exclusive=True)["faults"] == 0
    assert faulty(KUBERNETES, image="a", cpu=8, memory="1.5Ti", namespace="ml-1")["faults"] == 0


def test_what_another_flag_says_of_a_job_is_left_to_it() -> None:
    for launch, name in ((SLURM, "nodes"), (SLURM, "array"), (SKY, "num_nodes"), (KUBERNETES, "numNodes")):
        (fault,) = job_options.faults(launch, {name: 2})
        assert fault.meant is None and fault.is_certain


def test_an_option_of_a_plugin_of_the_cluster_may_be_one_that_is_not_known_here() -> None:
    (fault,) = job_options.faults(SLURM, {"x-burst-queue": 1})
    assert not fault.is_certain


def test_the_resources_of_a_task_are_those_of_skypilot() -> None:
    schemas = pytest.importorskip("sky.utils.schemas")
    there = {name for name in schemas.get_resources_schema()["properties"] if not name.startswith("_")}
    assert there == {
        *job_options.RESOURCES_OF_SKY.split(),
        "accelerators",
        "volumes",
    }  # which are those of the task here
    assert set(job_options.TOP_OF_SKY) <= schemas.get_task_schema()["properties"].keys()
