"""Training from the outside: what a run learns, what it leaves behind, how it stops, resumes and replaces."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from autotrain_llm import train
from autotrain_llm.declare.finding import Refused
from autotrain_llm.run.engine.loop import Loop
from autotrain_llm.run.failures import Interrupted, RunFailed
from autotrain_llm.run.session.callbacks import Signals
from support.fork_server import forked_python
from support.processes import run_together
from support.resumable import write_checkpoint


def run(data: Path, output: Path, **flags: Any) -> Any:
    """A short sft run in float32."""
    settings = {"trainer": "sft", "lr": 3e-3, "epochs": 2, "batch_size": 8, "mixed_precision": "fp32"}
    return train(**{**settings, "data_path": str(data), "output_dir": str(output), **flags})


def weights(folder: Path, name: str = "model.safetensors") -> dict[str, torch.Tensor]:
    return load_file(folder / name)


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def command(data: Path, output: Path, *flags: str) -> list[str]:
    words = "--trainer sft --model scratch:100k --lr 3e-3 --epochs 8 --batch-size 4 --mixed-precision fp32 --save-strategy steps --save-steps 20"
    return [
        forked_python(),
        "-m",
        "autotrain_llm",
        "llm",
        *words.split(),
        "--data-path",
        str(data),
        "--output-dir",
        str(output),
        *flags,
    ]


def test_sft_learns_conversations_and_its_model_answers(chat_rows: Path, tmp_path: Path) -> None:
    report = run(chat_rows, tmp_path / "run", model="scratch:250k", epochs=80, lr=5e-3)
    assert report.history[0]["loss"] > 4
    assert report.metrics["loss"] < 0.5
    answer = pipeline("text-generation", model=str(tmp_path / "run"))
    said = answer(
        [{"role": "user", "content": "Number 3: which comes first, yellow or red?"}], max_new_tokens=12, do_sample=False
    )
    assert said[0]["generated_text"][-1]["content"] == "yellow comes first."


def test_generic_learns_text(text_rows: Path, tmp_path: Path) -> None:
    report = run(
        text_rows, tmp_path / "run", trainer="generic", model="scratch:200k", epochs=20, lr=1e-2, block_size=64
    )
    assert report.metrics["loss"] < 0.4 * report.history[0]["loss"]


def test_a_finished_run_holds_everything_that_was_promised(chat_rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    run(chat_rows, output, model="scratch:100k", valid_split="0.2")
    for name in (
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "chat_template.jinja",
        "generation_config.json",
        "README.md",
        "command.sh",
    ):
        assert (output / name).is_file(), name
    document = json.loads((output / "run.json").read_text())
    assert document["status"] == "ok"
    assert document["plan"]["parameters"]["lr"] == {"value": 3e-3, "source": "command line"}
    assert document["versions"]["torch"] == torch.__version__
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert {"step", "loss", "learning_rate", "grad_norm", "tokens_per_second"} <= lines[0].keys()
    assert "eval_loss" in lines[-1]
    assert not (output / ".lock").exists()
    tokenizer = AutoTokenizer.from_pretrained(output)
    ends = json.loads((output / "generation_config.json").read_text())["eos_token_id"]
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in ends
    assert tokenizer.eos_token_id in ends


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(chat_rows: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(chat_rows, tmp_path / name, model="scratch:100k", seed=seed, epochs=1)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_accumulated_batches_are_one_large_batch(chat_rows: Path, llama: Path, tmp_path: Path) -> None:
    run(chat_rows, tmp_path / "whole", model=str(llama), batch_size=8, epochs=1, optimizer="sgd", lr=1e-2)
    run(
        chat_rows,
        tmp_path / "parts",
        model=str(llama),
        batch_size=2,
        gradient_accumulation=4,
        epochs=1,
        optimizer="sgd",
        lr=1e-2,
    )
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=0, atol=2e-6)


def of_one_and_of_two(
    model: Path, rows: Path, tmp_path: Path, one: list[str], two: list[str]
) -> list[dict[str, torch.Tensor]]:
    """The weights that one process trains with the flags `one`, and two processes with `two`."""
    common = f"llm --trainer sft --model {model} --data-path {rows} --lr 1e-2 --optimizer sgd --epochs 1 --mixed-precision fp32".split()
    for processes, flags in enumerate((one, two), 1):
        run_together([*common, *flags, "--output-dir", str(tmp_path / str(processes))], tmp_path, processes)
    return [weights(tmp_path / "1"), weights(tmp_path / "2")]


@pytest.mark.parametrize(("batch", "flags"), [(4, ["--gradient-accumulation", "2"]), (5, [])])
def test_two_processes_train_the_same_model_as_one(
    batch: int, flags: list[str], chat_rows: Path, llama: Path, tmp_path: Path
) -> None:
    one, two = [*flags, "--batch-size", str(2 * batch)], [*flags, "--batch-size", str(batch)]
    alone, together = of_one_and_of_two(llama, chat_rows, tmp_path, one, two)
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "flags", [["--gradient-checkpointing"], ["--packing", "--peft", "--lora-dropout", "0", "--merge-adapter"]]
)
def test_two_processes_that_divide_the_tokens_of_each_batch_train_the_same_model_as_one(
    flags: list[str], chat_rows: Path, llama: Path, tmp_path: Path
) -> None:
    flags = ["--batch-size", "4", "--valid-split", "0.2", *flags]
    alone, together = of_one_and_of_two(llama, chat_rows, tmp_path, flags, [*flags, "--context-parallel", "2"])
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, rtol=0, atol=2e-6)
    records = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("1", "2")]
    for name in ("eval_loss", "eval_token_accuracy"):
        assert records[1]["metrics"][name] == pytest.approx(records[0]["metrics"][name], abs=1e-5)


def test_a_run_that_was_stopped_and_resumed_ends_with_the_same_weights(chat_rows: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert subprocess.run(command(chat_rows, whole), capture_output=True, timeout=300).returncode == 0
    for signum, status, step, more in (
        (signal.SIGHUP, 129, 10, ()),
        (signal.SIGTERM, 143, 30, ("--resume",)),
    ):
        process = subprocess.Popen(
            command(chat_rows, broken, *more),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # the tests may be run under nohup
        )
        wait_for_step(broken, step)
        process.send_signal(signum)
        _, said = process.communicate(timeout=120)
        assert process.returncode == status
        assert "--resume" in said.strip().splitlines()[-1]
        assert json.loads((broken / "run.json").read_text())["status"] == "interrupted"
        assert not (broken / "model.safetensors").exists()
    done = subprocess.run(command(chat_rows, broken, "--resume"), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert same(weights(whole), weights(broken))
    steps = [json.loads(line)["step"] for line in (broken / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


def test_a_run_whose_reader_has_gone_trains_to_its_end(chat_rows: Path, tmp_path: Path) -> None:
    line = f"{shlex.join(command(chat_rows, tmp_path / 'run'))} 2>&1 | head -n 2; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=300)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "ok"
    assert (tmp_path / "run/model.safetensors").exists()


def wait_for_step(output: Path, step: int) -> None:
    """Until the run in this folder has logged the step."""
    file = output / "metrics.jsonl"
    for _ in range(600):
        if file.exists() and any(
            json.loads(line)["step"] >= step for line in file.read_text().splitlines() if line.endswith("}")
        ):
            return
        time.sleep(0.1)
    raise AssertionError(f"step {step} was not reached")


def test_an_interrupt_before_the_first_step_leaves_nothing(chat_rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    process = subprocess.Popen(command(chat_rows, output), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for _ in range(6000):
        if (output / "run.json").exists():
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "nothing to resume" in said
    assert not output.exists()


@pytest.mark.parametrize("saved", [True, False])
def test_a_run_that_is_a_part_of_another_one_can_say_how_it_stopped_without_its_own_command(
    saved: bool, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path, 3)
    stopped = Signals("autotrain llm … --resume", tmp_path, is_resumed=True).interrupted(signal.SIGTERM, saved)
    assert stopped.message.endswith("autotrain llm … --resume")
    assert stopped.what.startswith("Terminated ") and stopped.what.endswith(".") and "autotrain" not in stopped.what


def test_an_interrupt_that_a_library_takes_for_a_failure_of_its_own_ends_the_run_before_its_first_step(
    tmp_path: Path,
) -> None:
    with Signals("autotrain llm … --resume", tmp_path) as signals:
        signals.on_step_begin()
        with contextlib.suppress(Exception):  # as a library does that looks whether it can import another
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted) as stopped:
            signals.on_step_begin()
    assert stopped.value.signal == signal.SIGINT and "nothing to resume" in stopped.value.message


def test_resuming_without_a_complete_checkpoint_is_refused(chat_rows: Path, tmp_path: Path) -> None:
    broken = tmp_path / "run" / "checkpoints" / "checkpoint-5"
    broken.mkdir(parents=True)
    with pytest.raises(Refused) as refused:
        run(chat_rows, tmp_path / "run", model="scratch:100k", resume=True)
    assert [finding.code for finding in refused.value.findings] == ["E405"]
    assert "checkpoint-5" in refused.value.findings[0].message


def test_an_earlier_run_is_kept_until_the_new_one_is_complete(chat_rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    run(chat_rows, output, model="scratch:100k", epochs=1)
    (output / "notes.txt").write_text("mine")
    before = weights(output)
    with pytest.raises(Refused):
        run(chat_rows, output, model="scratch:100k", epochs=1)
    with pytest.raises(RunFailed):
        run(
            chat_rows,
            output,
            model="scratch:100k",
            epochs=1,
            lr=1e30,
            max_grad_norm=0,
            overwrite=True,
            save_strategy="no",
        )
    assert same(before, weights(output))
    run(chat_rows, output, model="scratch:100k", epochs=1, seed=7, overwrite=True)
    assert not same(before, weights(output))
    assert (output / "notes.txt").read_text() == "mine"
    assert not list(output.glob(".replaced-*"))


def test_lora_saves_an_adapter_that_loads_and_leaves_the_base_alone(
    chat_rows: Path, llama: Path, tmp_path: Path
) -> None:
    from peft import AutoPeftModelForCausalLM

    run(chat_rows, tmp_path / "run", model=str(llama), peft=True, lora_r=4, lr=1e-2)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    adapter = weights(tmp_path / "run", "adapter_model.safetensors")
    assert any(tensor.abs().sum() > 0 for name, tensor in adapter.items() if "lora_B" in name)
    loaded = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "run")
    base = weights(llama)
    inside = loaded.get_base_model().model.layers[0].self_attn.q_proj.base_layer.weight
    assert torch.equal(inside, base["model.layers.0.self_attn.q_proj.weight"])


def test_a_merged_adapter_computes_what_the_adapter_did(chat_rows: Path, llama: Path, tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM

    for name, merge in (("adapter", False), ("merged", True)):
        run(
            chat_rows,
            tmp_path / name,
            model=str(llama),
            peft=True,
            lora_r=4,
            lora_dropout=0.0,
            lr=1e-2,
            merge_adapter=merge,
        )
    ids = torch.tensor([[1, 5, 9, 30, 31]])
    apart = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter").eval()(input_ids=ids).logits
    together = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()(input_ids=ids).logits
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-4)


def test_a_run_is_the_next_runs_model(chat_rows: Path, tmp_path: Path) -> None:
    run(chat_rows, tmp_path / "one", model="scratch:100k", valid_split="0.2", epochs=12)
    for selected in ("one", "one@best", "one@last"):
        report = run(chat_rows, tmp_path / f"from-{selected}", model=str(tmp_path / selected), epochs=1, lr=1e-4)
        assert report.history[0]["loss"] < 2.5


def test_an_adapter_is_trained_on(chat_rows: Path, llama: Path, tmp_path: Path) -> None:
    run(chat_rows, tmp_path / "one", model=str(llama), peft=True, lora_r=4, lr=1e-2)
    first = weights(tmp_path / "one", "adapter_model.safetensors")
    run(chat_rows, tmp_path / "two", model=str(tmp_path / "one"), peft=True, lora_r=4, lr=1e-2, epochs=1)
    second = weights(tmp_path / "two", "adapter_model.safetensors")
    assert first.keys() == second.keys()
    config = json.loads((tmp_path / "two" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(llama)


def test_evaluation_weighs_tokens_and_not_batches(chat_rows: Path, llama: Path, tmp_path: Path) -> None:
    losses = [
        run(
            chat_rows,
            tmp_path / str(size),
            model=str(llama),
            valid_split="0.3",
            max_steps=1,
            eval_batch_size=size,
            lr=1e-6,
        ).metrics["eval_loss"]
        for size in (1, 4, 14)
    ]
    assert max(losses) - min(losses) < 1e-6


def test_the_best_checkpoint_is_at_the_root_where_that_was_asked_for(chat_rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    run(
        chat_rows,
        output,
        model="scratch:100k",
        valid_split="0.2",
        epochs=6,
        lr=2e-2,
        load_best_model_at_end=True,
        save_total_limit=8,
    )
    best = json.loads((output / "run.json").read_text())["outcome"]["best_checkpoint"]
    assert same(weights(output), weights(output / best))


def test_not_a_number_ends_the_run_and_keeps_its_checkpoints(chat_rows: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="not a number"):
        run(
            chat_rows,
            tmp_path / "run",
            model="scratch:100k",
            lr=1e30,
            max_grad_norm=0,
            save_strategy="steps",
            save_steps=1,
        )
    assert list((tmp_path / "run" / "checkpoints").glob("checkpoint-*/trainer_state.json"))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"


def test_no_secret_is_written_anywhere(chat_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_environmentsecret")
    run(chat_rows, tmp_path / "run", model="scratch:100k", epochs=1, token="hf_commandlinesecret")
    for file in (path for path in tmp_path.rglob("*") if path.is_file()):
        content = file.read_bytes()
        assert b"hf_commandlinesecret" not in content, file
        assert b"hf_environmentsecret" not in content, file


def test_a_run_can_be_repeated_from_its_command(chat_rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    run(chat_rows, output, model="scratch:100k", epochs=1)
    before = weights(output)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", str(output / "command.sh"), "--overwrite"], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert same(before, weights(output))


@pytest.mark.parametrize("flags", [{}, {"peft": True, "lora_r": 4}])
def test_a_run_stopped_after_its_last_step_is_only_finished(
    flags: dict[str, Any], chat_rows: Path, llama: Path, tmp_path: Path
) -> None:
    output, name = tmp_path / "run", "adapter_model.safetensors" if flags else "model.safetensors"
    settings = {"model": str(llama), "max_steps": 3, "save_strategy": "steps", "save_steps": 3, **flags}
    run(chat_rows, output, **settings)
    before = weights(output, name)
    (output / name).unlink()
    report = run(chat_rows, output, **settings, resume=True)
    assert same(before, weights(output, name))
    assert report.metrics["loss"] > 0
    assert json.loads((output / "run.json").read_text())["outcome"]["steps"] == 3


def test_early_stopping_is_told_by_the_steps_that_were_really_taken(chat_rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    run(chat_rows, output, model="scratch:100k", valid_split="0.2", epochs=9, lr=1.0, early_stopping_patience=1)
    outcome = json.loads((output / "run.json").read_text())["outcome"]
    assert outcome["steps"] < 45
    assert f"{outcome['steps']} steps" in (output / "README.md").read_text()


def test_no_checkpoint_has_what_a_loss_that_is_not_a_number_made_of_the_weights(
    chat_rows: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunFailed, match="not a number at step") as failure:
        run(
            chat_rows,
            tmp_path / "run",
            model="scratch:100k",
            lr=1e30,
            max_grad_norm=0,
            save_strategy="steps",
            save_steps=1,
            save_total_limit=99,
            logging_steps=50,
        )
    saved = {int(path.name.partition("-")[2]) for path in (tmp_path / "run" / "checkpoints").iterdir()}
    step = int(failure.value.message.partition("at step ")[2].partition(";")[0])
    assert step > 1 and saved == set(range(1, step))


def test_batches_made_ahead_give_the_same_losses(
    chat_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = run(chat_rows, tmp_path / "usual", model="scratch:100k", gradient_accumulation=2, logging_steps=1)
    monkeypatch.setattr(Loop, "made_ahead_for", frozenset({"cpu"}))
    ahead = run(chat_rows, tmp_path / "ahead", model="scratch:100k", gradient_accumulation=2, logging_steps=1)
    assert [entry["loss"] for entry in usual.history if "loss" in entry] == [
        entry["loss"] for entry in ahead.history if "loss" in entry
    ]


def test_a_batch_of_tokens_with_room_for_all_rows_is_the_batch_of_all_rows(chat_rows: Path, tmp_path: Path) -> None:
    count = len(chat_rows.read_text(encoding="utf-8").splitlines())
    small = {"model": "scratch:100k", "block_size": 128, "epochs": 3, "logging_steps": 1}
    of_rows = run(chat_rows, tmp_path / "rows", **small, batch_size=count)
    of_tokens = run(chat_rows, tmp_path / "tokens", **small, batch_size=1, batch_tokens=128 * count)
    assert of_rows.plan.steps == of_tokens.plan.steps == 3
    assert of_tokens.plan.schedule.tokens_of_batch == of_tokens.plan.data.total_tokens
    losses = [[entry["loss"] for entry in report.history if "loss" in entry] for report in (of_rows, of_tokens)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_batches_of_tokens_are_nearly_full_and_a_resumed_run_has_the_same(chat_rows: Path, tmp_path: Path) -> None:
    flags = {
        "model": "scratch:100k",
        "block_size": 64,
        "batch_tokens": 192,
        "batch_size": 1,
        "gradient_accumulation": 2,
    }
    whole = run(chat_rows, tmp_path / "whole", **flags)
    assert 0.8 * 192 < whole.plan.schedule.tokens_of_batch <= 192
    halfway = max(1, whole.plan.steps // 2)
    run(chat_rows, tmp_path / "parts", **flags, save_strategy="steps", save_steps=halfway, save_total_limit=9)
    for later in (tmp_path / "parts" / "checkpoints").iterdir():
        if later.name != f"checkpoint-{halfway}":
            shutil.rmtree(later)
    (tmp_path / "parts" / "model.safetensors").unlink()
    run(chat_rows, tmp_path / "parts", **flags, save_strategy="steps", save_steps=halfway, resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
