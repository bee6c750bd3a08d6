"""The states of optimizer, schedule, gradient scaler and random numbers in a checkpoint, without pickle, and the weights of a divided model.

transformers 5.23 writes them with `torch.save`. Checkpoints of earlier versions, which have such files, are still read, with `weights_only`.
"""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from peft import PeftModel
from transformers import Trainer
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import rotate_checkpoints

from autotrain_llm.context.output_dir import ADAPTER_WEIGHTS
from autotrain_llm.declare.parts import SHARDED, has_parts
from autotrain_llm.run.engine import sharded_states
from autotrain_llm.run.engine.adapter_init import adapter_weights, load_adapter_weights, write_adapter
from autotrain_llm.run.engine.background_writing import BackgroundWriting
from autotrain_llm.run.engine.loading import save_config
from autotrain_llm.run.engine.optimizers import use_averaged_weights
from autotrain_llm.run.engine.sharding import is_sharded, reshard, whole
from autotrain_llm.run.engine.state_file import load_state, save_state


class PlainStates(Trainer):
    """A Trainer whose checkpoints hold no pickle. It overrides the methods of transformers 5.23 that write and read these files.

    A state that has other objects in it is written as transformers does, and said. Of a model that is divided among processes, each process writes its
    parts (`sharded_states`) while the training goes on; an adapter is small, and gathered.
    """

    # Writes the list of a checkpoint's files, with the entries of those that several processes have written.
    list_files: Callable[[Path, Mapping[str, Any]], None] | None = None
    _background: BackgroundWriting | None = None  # of a model that is divided

    def finish_checkpoint(self) -> None:
        """Wait for the parts of a checkpoint that are being written, list its files, and remove the checkpoints that are too many: until then the earlier
        ones stay. All processes have to call it."""
        background = self._background
        if background is None or background.folder is None:
            return
        folder = background.folder
        of_parts = background.wait()
        if self.args.should_save:
            assert self.list_files is not None
            self.list_files(folder, of_parts)
            rotate_checkpoints(
                str(folder.parent), self.args.save_total_limit, self.state.best_model_checkpoint, use_mtime=True
            )
        self.accelerator.wait_for_everyone()

    def finish_checkpoint_if_written(self) -> None:
        """Finish a checkpoint whose parts all processes have written. All of them have to call it."""
        background = self._background
        if background is not None and background.folder is not None and background.is_written():
            self.finish_checkpoint()

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if not self.is_fsdp_enabled:
            super()._save_checkpoint(model, trial)
            return
        self.finish_checkpoint()
        self._background = self._background or BackgroundWriting()
        limit, self.args.save_total_limit = (
            self.args.save_total_limit,
            None,
        )  # none is removed before this one is complete
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        self._background.end(Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}")

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        use_averaged_weights(self.optimizer)  # until the state of the optimizer is saved too
        if self.args.should_save:  # what a killed run may have left there
            shutil.rmtree(folder / SHARDED, ignore_errors=True)
        if not self.is_fsdp_enabled:
            super().save_model(output_dir, _internal_call)
            return
        assert self.model is not None
        self.accelerator.wait_for_everyone()
        if isinstance(self.model, PeftModel):
            adapter = {name: whole(weight).cpu() for name, weight in adapter_weights(self.model).items()}
            if self.args.should_save:
                write_adapter(self.model.peft_config["default"], adapter, folder)
        else:
            sharded_states.save_model(self.model, folder, self._save_parts)
            if self.args.should_save:
                save_config(self.model, folder)
        if self.args.should_save and self.processing_class is not None:
            self.processing_class.save_pretrained(folder)

    @property
    def _save_parts(self) -> sharded_states.Save:
        return self._background.save if self._background is not None else sharded_states.save_now

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self.model, Path(resume_from_checkpoint))

    def train(self, *arguments: Any, **settings: Any) -> Any:
        output = super().train(*arguments, **settings)
        self.finish_checkpoint()
        use_averaged_weights(self.optimizer)
        return output

    def _load_best_model(self) -> None:
        self.finish_checkpoint()
        use_averaged_weights(self.optimizer)  # before others take their place
        load_weights(self.model, Path(str(self.state.best_model_checkpoint)))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The weights, without the pickle of the arguments that transformers writes beside them and nothing reads."""
        super()._save(output_dir, state_dict)
        Path(output_dir or str(self.args.output_dir), TRAINING_ARGS_NAME).unlink(missing_ok=True)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.is_fsdp_enabled:
            assert self.model is not None and self.optimizer is not None and self.lr_scheduler is not None
            first = self.args.should_save
            sharded_states.save_optimizer(
                self.optimizer, self.model, Path(output_dir), self._save_parts, is_first=first
            )
            if first:
                save_state(Path(output_dir, "scheduler.safetensors"), self.lr_scheduler.state_dict())
            return

        def plainly() -> None:
            assert self.optimizer is not None and self.lr_scheduler is not None
            save_state(Path(output_dir, "optimizer.safetensors"), self.optimizer.state_dict())
            save_state(Path(output_dir, "scheduler.safetensors"), self.lr_scheduler.state_dict())

        self._saved(plainly, lambda: super(PlainStates, self)._save_optimizer_and_scheduler(output_dir))

    def _save_scaler(self, output_dir: str) -> None:
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is None:
            return

        def plainly() -> None:
            save_state(Path(output_dir, "scaler.safetensors"), scaler.state_dict())

        self._saved(plainly, lambda: super(PlainStates, self)._save_scaler(output_dir))

    def _saved(self, plainly: Callable[[], None], by_transformers: Callable[[], None]) -> None:
        """Save in the first process, plainly where that is possible."""
        if self.args.should_save:
            try:
                plainly()
            except (TypeError, RuntimeError) as problem:  # safetensors refuses tensors that share memory
                if not isinstance(problem, TypeError) and "share memory" not in str(problem):
                    raise
                warnings.warn(f"the state of the optimizer is saved by torch.save: {problem}", stacklevel=2)
                by_transformers()

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        folder = Path(checkpoint or "")
        if checkpoint is None or not (folder / "optimizer.safetensors").exists():
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        assert self.optimizer is not None and self.lr_scheduler is not None
        if self.is_fsdp_enabled or has_parts(folder):
            assert self.model is not None
            sharded_states.load_optimizer(self.optimizer, self.model, folder)
        else:
            self.optimizer.load_state_dict(load_state(folder / "optimizer.safetensors"))
        self.lr_scheduler.load_state_dict(load_state(folder / "scheduler.safetensors"))

    def _load_scaler(self, checkpoint: str | None) -> None:
        path = Path(checkpoint or "", "scaler.safetensors")
        if checkpoint is None or not path.exists():
            super()._load_scaler(checkpoint)
        else:
            self.accelerator.scaler.load_state_dict(load_state(path))

    def _save_rng_state(self, output_dir: str) -> None:
        if self.args.device.type not in ("cpu", "cuda", "mps"):
            super()._save_rng_state(output_dir)
            return
        state = {"python": random.getstate(), "numpy": numpy.random.get_state(), "cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state_all()
        save_state(self._random_state(Path(output_dir)), state)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        path = self._random_state(Path(checkpoint or ""))
        if checkpoint is None or not path.exists():
            super()._load_rng_state(checkpoint)
            return
        state = load_state(path)
        random.setstate(state["python"])
        numpy.random.set_state(state["numpy"])
        torch.set_rng_state(state["cpu"])
        if torch.cuda.is_available() and len(state.get("cuda", ())) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])

    def _random_state(self, folder: Path) -> Path:
        """One process writes one file; several write one each."""
        number = f"_{self.args.process_index}" if self.args.world_size > 1 else ""
        return folder / f"rng_state{number}.safetensors"


def load_weights(model: Any, checkpoint: Path) -> None:
    """Load the weights of a checkpoint, in parts or whole, into a model, in parts or whole; for LoRA, those of the adapter."""
    reshard(model)
    if not isinstance(model, PeftModel):
        sharded_states.load_model(model, checkpoint)
    elif is_sharded(model):
        sharded_states.load_tensors(adapter_weights(model), checkpoint / ADAPTER_WEIGHTS)
    else:
        load_adapter_weights(model, checkpoint)
