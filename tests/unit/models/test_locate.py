"""From a name to a folder: every form a user writes, and what is said where it leads nowhere."""

import json
from importlib import import_module
from types import SimpleNamespace

import pytest

from autotrain_llm.declare.finding import Refused
from autotrain_llm.models import hub
from autotrain_llm.models.locate import complete_checkpoints, is_path_like, locate


def write_model(folder, **config):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return folder


def write_adapter(folder, base):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": base}))
    (folder / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return folder


def write_checkpoint(run, step, complete=True):
    folder = write_model(run / "checkpoints" / f"checkpoint-{step}")
    if complete:
        (folder / "trainer_state.json").write_text("{}")
    return folder


def refusal(name, **settings):
    with pytest.raises(Refused) as refused:
        locate(str(name), offline=True, **settings)
    (finding,) = refused.value.findings
    return finding


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def test_a_folder_is_found_by_relative_absolute_and_home_path(work, monkeypatch):
    write_model(work / "org" / "model")
    monkeypatch.setenv("HOME", str(work))
    for name in ("org/model", "./org/model", str(work / "org/model"), "~/org/model", "org/model/"):
        found = locate(name)
        assert (found.kind, found.name) == ("folder", name)
        assert found.folder.resolve() == (work / "org/model").resolve()


def test_a_new_model_has_a_size_and_no_folder():
    found = locate("scratch:1.5M")
    assert (found.kind, found.size, found.folder) == ("scratch", 1_500_000, None)


def test_a_size_that_is_none_names_the_flag_it_was_given_with():
    assert refusal("scratch:huge", parameter="teacher_model").fix.startswith("--teacher-model scratch:")


@pytest.mark.parametrize("name", ["./x", "../x", "/gone/x", "~/gone-x", "a/b/c", "x/", "runs/x", ".\\x", "m.gguf"])
def test_a_path_that_is_not_there_is_never_taken_for_a_hub_id(work, monkeypatch, name):
    (work / "runs").mkdir()
    monkeypatch.setattr(hub, "fetch_metadata", lambda *_: pytest.fail("asked the Hub"))
    finding = refusal(name)
    assert finding.code == "M102"
    assert name in finding.message


@pytest.mark.parametrize(
    "name",
    [
        "gpt2",
        "Qwen/Qwen2.5-0.5B",
        "meta-llama/Llama-3.2-1B",
        "openai/gpt-oss-20b",
        "EleutherAI/gpt-neo-125m",
        "google/gemma-3-1b-it",
    ],
)
def test_a_hub_id_is_asked_for_on_the_hub(work, monkeypatch, name):
    folder = write_model(work / "snapshot")
    monkeypatch.setattr(hub, "fetch_metadata", lambda *_: hub.Repository(folder, ("config.json",), {"w": (2, 3)}))
    found = locate(name)
    assert (found.kind, found.folder, found.remote_files) == ("hub", folder, ("config.json",))
    assert not is_path_like(name)


def test_a_misspelt_folder_is_answered_with_the_nearest(work):
    write_model(work / "models" / "tiny-llama")
    assert refusal("./models/tiny-lama").fix == "--model models/tiny-llama"


@pytest.mark.parametrize(
    "name", ["gpt-4", "gpt-4o-mini", "openai/gpt-4", "gpt-3.5-turbo", "claude-3-opus", "gemini-1.5-pro", "o3-mini"]
)
def test_a_model_whose_weights_nobody_has_gets_its_own_words(work, name):
    finding = refusal(name, parameter="teacher_model")
    assert finding.code == "M105"
    assert finding.message.startswith(f"--teacher-model {name} is available through a service only")


def test_a_local_folder_called_like_a_closed_model_is_a_folder(work):
    write_model(work / "gpt-4")
    assert locate("gpt-4").kind == "folder"


def test_offline_and_not_cached_is_said(work, tmp_path):
    finding = refusal("org/some-model", cache_dir=str(tmp_path / "cache"))
    assert finding.code == "M108"
    assert "cache" in finding.message


def test_offline_reads_the_local_cache(work):
    repository = work / "cache" / "models--org--some-model"
    write_model(repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    found = locate("org/some-model", cache_dir=str(work / "cache"), offline=True)
    assert (found.kind, found.folder) == ("hub", repository / "snapshots" / "abc")


def test_names_that_no_repository_can_have_never_reach_the_hub(work):
    assert refusal("my model!").code == "M102"
    assert refusal("").code == "M102"


def online(monkeypatch, error):
    from huggingface_hub import HfApi, constants

    def model_info(self, name, revision=None):
        raise error

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(HfApi, "model_info", model_info)


def test_gated_missing_and_unreachable_are_told_apart(work, monkeypatch):
    from huggingface_hub import errors

    http = import_module(errors.HTTPError.__module__.partition(".")[0])  # the library that this version talks with
    response = http.Response(404, request=http.Request("GET", "https://huggingface.co"))
    faults = {
        errors.GatedRepoError("gated", response=response): ("M109", "gated"),
        errors.RepositoryNotFoundError("none", response=response): ("M110", "neither"),
        errors.RevisionNotFoundError("none", response=response): ("M110", "revision v9"),
        http.ConnectError("no route"): ("M108", "can't be reached"),
    }
    for error, (code, words) in faults.items():
        online(monkeypatch, error)
        with pytest.raises(Refused) as refused:
            locate("org/model", revision="v9")
        (finding,) = refused.value.findings
        assert finding.code == code
        assert words in finding.message


def test_only_metadata_is_downloaded_and_shapes_come_from_the_header(work, monkeypatch):
    from huggingface_hub import HfApi

    folder = write_model(work / "snapshot")
    asked = {}
    siblings = [SimpleNamespace(rfilename=name) for name in ("config.json", "model.safetensors")]
    header = SimpleNamespace(tensors={"w": SimpleNamespace(shape=[2, 3])})
    online(monkeypatch, None)
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: SimpleNamespace(siblings=siblings, sha="abc"))
    monkeypatch.setattr(HfApi, "parse_safetensors_file_metadata", lambda *_, **__: header)
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda name, **settings: asked.update(settings) or str(folder)
    )
    found = locate("org/model")
    assert found.remote_tensors == {"w": (2, 3)}
    assert asked["revision"] == "abc"
    assert not any("safetensors" in pattern or pattern == "*" for pattern in asked["allow_patterns"])


def test_gguf_is_refused_as_a_file_and_as_a_folder(work):
    (work / "quantised").mkdir()
    (work / "quantised" / "model-q4.gguf").write_bytes(b"GGUF")
    assert refusal("quantised").code == "M104"
    assert refusal("quantised/model-q4.gguf").code == "M104"


def test_a_weight_file_in_place_of_its_folder_is_answered_with_the_folder(work):
    write_model(work / "model")
    assert refusal("model/model.safetensors").fix == "--model model"


# --- adapters -------------------------------------------------------------------------------------------------------


def test_an_adapter_is_found_with_its_base(work):
    write_model(work / "base")
    write_adapter(work / "adapter", "base")
    found = locate("adapter")
    assert (found.kind, found.base.kind, found.base.folder.name) == ("adapter", "folder", "base")


def test_a_base_named_relative_to_the_adapter_is_found_from_anywhere(work):
    write_model(work / "runs" / "base")
    write_adapter(work / "runs" / "adapter", "../base")
    assert locate("runs/adapter").base.folder.resolve() == (work / "runs" / "base").resolve()


def test_an_adapter_whose_base_is_gone_names_it(work):
    write_adapter(work / "adapter", "/gone/model")
    finding = refusal("./adapter", parameter="rl_reward_model_path")
    assert finding.code == "M107"
    assert finding.parameters == ("rl_reward_model_path",)
    assert "base_model_name_or_path, /gone/model" in finding.message


@pytest.mark.parametrize("base", [None, "", "adapter"])
def test_an_adapter_without_a_model_under_it_is_refused(work, base):
    write_adapter(work / "adapter", base)
    assert refusal("adapter").code == "M107"


def test_a_whole_model_with_a_leftover_adapter_config_is_a_model(work):
    write_adapter(write_model(work / "merged"), "/gone/model")
    assert locate("merged").kind == "folder"


# --- earlier runs ---------------------------------------------------------------------------------------------------


def test_a_finished_run_is_its_root(work):
    write_checkpoint(write_model(work / "runs/sft"), 20)
    for name in ("runs/sft", "runs/sft@last", "runs/sft@best"):
        assert locate(name).folder.name == "sft"


def test_best_is_what_the_run_recorded(work):
    run = write_model(work / "runs/sft")
    write_checkpoint(run, 20)
    write_checkpoint(run, 40)
    (run / "run.json").write_text(json.dumps({"outcome": {"best_checkpoint": "checkpoints/checkpoint-20"}}))
    assert locate("runs/sft@best").folder.name == "checkpoint-20"
    assert locate("runs/sft@last").folder.name == "sft"


def test_a_best_checkpoint_that_was_deleted_is_said_and_not_replaced(work):
    run = write_model(work / "runs/sft")
    (run / "run.json").write_text(json.dumps({"outcome": {"best_checkpoint": "checkpoints/checkpoint-20"}}))
    finding = refusal("runs/sft@best")
    assert "checkpoint-20" in finding.message
    assert finding.fix == "--model runs/sft@last"


def test_a_step_is_that_checkpoint_and_a_missing_one_lists_what_there_is(work):
    run = work / "runs/sft"
    write_checkpoint(run, 20)
    write_checkpoint(run, 100)
    write_checkpoint(run, 120, complete=False)
    assert locate("runs/sft@step-20").folder.name == "checkpoint-20"
    finding = refusal("runs/sft@step-120")
    assert "20, 100" in finding.message
    assert finding.fix == "--model runs/sft@step-100"
    assert list(complete_checkpoints(run)) == [20, 100]


def test_an_unfinished_run_has_a_last_checkpoint_and_no_root(work):
    write_checkpoint(work / "runs/sft", 20)
    write_checkpoint(work / "runs/sft", 100)
    assert locate("runs/sft@last").folder.name == "checkpoint-100"
    assert refusal("runs/sft").fix == "--model runs/sft@last"


def test_a_checkpoint_folder_is_a_model_and_a_run_that_is_not_there_is_not(work):
    write_checkpoint(work / "runs/sft", 20)
    assert locate("runs/sft/checkpoints/checkpoint-20").kind == "folder"
    assert refusal("runs/dpo@best").code == "M102"
    (work / "runs/empty").mkdir()
    assert refusal("runs/empty@last").code == "M106"


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("parameter", ["model", "teacher_model", "model_ref", "rl_reward_model_path"])
def test_a_checkpoint_is_named_beside_the_run_or_in_its_folder_of_checkpoints(work, finished, parameter):
    run = work / "runs" / "sft"
    folder = write_checkpoint(run, 942)
    if finished:
        write_model(run)
    for name in ("runs/sft/checkpoint-942", "runs/sft/checkpoints/checkpoint-942", "./runs/sft/checkpoint-942/"):
        located = locate(name, parameter=parameter, offline=True)
        assert located.name == name and located.folder.resolve() == folder.resolve()


def test_a_checkpoint_beside_the_run_as_other_tools_write_it_is_found_both_ways(work):
    run = work / "run"
    folder = write_checkpoint(run, 5)
    folder.rename(run / "checkpoint-5")
    for name in ("run/checkpoint-5", "run/checkpoints/checkpoint-5"):
        assert locate(name).folder.resolve() == (run / "checkpoint-5").resolve()


@pytest.mark.parametrize("name", ["run/checkpoint-943", "run/checkpoints/checkpoint-943"])
def test_a_checkpoint_that_is_not_there_is_answered_with_those_that_are(work, name):
    write_model(work / "run")
    write_checkpoint(work / "run", 5)
    write_checkpoint(work / "run", 942)
    write_checkpoint(work / "run", 943, complete=False).rename(work / "run" / "checkpoints" / "other")
    finding = refusal(name)
    assert "it has those of steps 5, 942" in finding.message and finding.guess == {
        "model": "run/checkpoints/checkpoint-942"
    }


def test_the_folder_of_checkpoints_is_no_model_and_its_last_one_is_named(work):
    write_model(work / "run")
    write_checkpoint(work / "run", 5)
    write_checkpoint(work / "run", 10)
    finding = refusal("run/checkpoints")
    assert "unfinished" not in finding.message and finding.guess == {"model": "run/checkpoints/checkpoint-10"}
