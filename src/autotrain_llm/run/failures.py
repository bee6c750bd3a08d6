"""The ways in which a run ends early: a failure, or a signal."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from pathlib import Path

from autotrain_llm.context.output_dir import checkpoints_in, is_complete


class RunFailed(Exception):
    """The run started and failed: what happened, and what to change."""

    def __init__(self, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class EnvironmentFailed(RunFailed):
    """A failure that has nothing to do with the values of the run, such as a full disk: the same run can go on once that is mended."""


class Interrupted(Exception):
    """A signal ended the run; a checkpoint was saved first where there was something to save. `what` is the message without the command that
    goes on, where the run is a part of another one."""

    def __init__(self, signal: int, message: str, what: str = "") -> None:
        super().__init__(message)
        self.signal = signal
        self.message = message
        self.what = what or message


def not_a_number(step: int) -> RunFailed:
    """The failure of a run whose loss is NaN or infinite at this step."""
    return RunFailed(
        f"the loss is not a number at step {step}; every complete checkpoint is kept",
        "a lower --lr, more --warmup-ratio, or --mixed-precision bf16 or fp32",
    )


KEPT = "every complete checkpoint is kept"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
# Texts by which libraries report a failed write without its number: torch.save, zip files, safetensors.
FAILED_WRITES = ("basic_ios::clear", "iostream error", "PytorchStreamWriter failed")
FULL_DISK = ("No space left on device", "Disk quota exceeded")
SHOWN = 200  # characters of a library's message
NO_NETWORK = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "LocalEntryNotFoundError", "MaxRetryError")
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")
COMPILERS = ("torch._dynamo", "torch._inductor")
GPU_FAULTS = ("CUDA error", "device-side assert", "cuDNN error", "CUBLAS_STATUS", "NCCL error")


def explain(
    fault: BaseException, steps_done: int | None, folder: Path | None = None, where: str | None = None
) -> RunFailed | None:
    """The failure, with what can be done, behind a library's exception: memory, disk, files, network, GPU, packages; None for any other.

    `steps_done` is None before the training; `where` takes the place of what it says. `folder` is the output folder of the run, where it has one.
    """
    where = where or (
        "before training" if steps_done is None else f"after {steps_done} steps" if steps_done else "in the first step"
    )
    goes_on = steps_done is not None and (folder is None or any(map(is_complete, checkpoints_in(folder))))
    kept, again = (f"; {KEPT}", "--resume") if goes_on else ("", "the same command again")
    text, kind = " ".join(str(fault).split()), type(fault).__name__
    number = _number_of(fault, text)
    path = getattr(fault, "filename", None) if isinstance(fault, OSError) else None
    place = f"{path or folder}: " if path or folder else ""
    if kind == "OutOfMemoryError" or isinstance(fault, MemoryError) or _has(text.lower(), OUT_OF_MEMORY):
        fix = "a smaller --batch-size with more --gradient-accumulation, a smaller --block-size, --gradient-checkpointing, or --peft"
        return RunFailed(f"out of memory {where}", fix)
    cut_short = "inline_container" in text and "unexpected pos" in text  # torch.save's error on a full disk
    if number in FULL or cut_short or _has(text, FULL_DISK):
        fix = f"free some space, then {again}; or a smaller --save-total-limit"
        return EnvironmentFailed(f"{place}the disk is full, or its quota is used up, {where}{kept}", fix)
    is_missing = number == errno.ENOENT or "does not exist" in text
    if is_missing and steps_done is not None and folder is not None and not folder.is_dir():
        fix = "the same command again; or if it was moved, --resume with its new place as --output-dir"
        return RunFailed(f"{folder}: the output folder was removed or moved {where}", fix)
    if _has(text, FAILED_WRITES):
        fix = f"look whether the disk of --output-dir is full or broken (df -h), then {again}"
        return EnvironmentFailed(f"{place}a checkpoint could not be written {where}: {text}{kept}", fix)
    if _has(text, GPU_FAULTS):
        fix = f"CUDA_LAUNCH_BLOCKING=1 before the command names the operation; nvidia-smi shows the state of the GPU; then {again}"
        return RunFailed(f"the GPU reported an error {where}: {text[:SHOWN]}{kept}", fix)
    if isinstance(fault, ImportError) and fault.name:
        package = fault.name.partition(".")[0]
        return RunFailed(
            f"the package {package} is missing or broken: {text}", f"pip install --force-reinstall {package}"
        )
    if type(fault).__module__.startswith(COMPILERS):
        return RunFailed(f"the layers could not be compiled {where}: {text[:SHOWN]}{kept}", "--compile off")
    if kind in NO_NETWORK or _has(text, NO_NETWORK):
        fix = "the same command again; or download model and data first, and give their folders"
        return RunFailed(f"the network failed {where}: {text[:SHOWN]}{kept}", fix)
    if number is not None and (path or (folder and number in FILE_FIXES)):
        fix = FILE_FIXES.get(number, "look at that file")
        return RunFailed(f"{place}{os.strerror(number)} ({where}){kept}", f"{fix}, then {again}")
    return None


def _number_of(fault: BaseException, text: str) -> int | None:
    """The system's number of a failure; libraries in Rust, as safetensors, have it in their text."""
    if isinstance(fault, OSError) and fault.errno:
        return fault.errno
    match = re.search(r"\(os error (\d+)\)", text)
    return int(match[1]) if match else None


def _has(text: str, phrases: Iterable[str]) -> bool:
    return any(phrase in text for phrase in phrases)


FILE_FIXES = {
    errno.EACCES: "give yourself the rights to it (chmod u+rwX)",
    errno.EPERM: "give yourself the rights to it (chmod u+rwX)",
    errno.EROFS: "choose an --output-dir on a disk that can be written to",
    errno.ENOENT: "put it back: nothing else may move or delete files of a run",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n 4096)",
    errno.EIO: "move to another disk: this one reports errors (dmesg)",
}
