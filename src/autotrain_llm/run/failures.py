"""The ways in which a run ends early: a failure, or a signal."""

from __future__ import annotations

import errno
from collections.abc import Iterable


class RunFailed(Exception):
    """The run started and failed: what happened, and what to change."""

    def __init__(self, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


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
GPU_FAULTS = ("CUDA error", "device-side assert", "cuDNN error", "CUBLAS_STATUS", "NCCL error")


def explain(fault: BaseException, steps_done: int | None) -> RunFailed | None:
    """The failure, with what can be done, behind a library's exception: memory, disk, files, network, GPU, packages; None for any other.

    `steps_done` is None before the training.
    """
    where = (
        "before training" if steps_done is None else f"after {steps_done} steps" if steps_done else "in the first step"
    )
    kept, again = (f"; {KEPT}", "--resume") if steps_done is not None else ("", "the same command again")
    text, kind = " ".join(str(fault).split()), type(fault).__name__
    number = fault.errno if isinstance(fault, OSError) else None
    if kind == "OutOfMemoryError" or isinstance(fault, MemoryError) or _has(text.lower(), OUT_OF_MEMORY):
        fix = "a smaller --batch-size with more --gradient-accumulation, a smaller --block-size, --gradient-checkpointing, or --peft"
        return RunFailed(f"out of memory {where}", fix)
    cut_short = "inline_container" in text and "unexpected pos" in text  # torch.save's error on a full disk
    if number in FULL or cut_short or _has(text, FULL_DISK):
        fix = f"free some space, then {again}; or a smaller --save-total-limit"
        return RunFailed(f"the disk is full, or its quota is used up, {where}{kept}", fix)
    if _has(text, FAILED_WRITES):
        fix = f"look whether the disk of --output-dir is full or broken (df -h), then {again}"
        return RunFailed(f"a checkpoint could not be written {where}: {text}{kept}", fix)
    if _has(text, GPU_FAULTS):
        fix = f"CUDA_LAUNCH_BLOCKING=1 before the command names the operation; nvidia-smi shows the state of the GPU; then {again}"
        return RunFailed(f"the GPU reported an error {where}: {text[:SHOWN]}{kept}", fix)
    if isinstance(fault, ImportError) and fault.name:
        package = fault.name.partition(".")[0]
        return RunFailed(
            f"the package {package} is missing or broken: {text}", f"pip install --force-reinstall {package}"
        )
    if kind in NO_NETWORK or _has(text, NO_NETWORK):
        fix = "the same command again; or download model and data first, and give their folders"
        return RunFailed(f"the network failed {where}: {text[:SHOWN]}{kept}", fix)
    if isinstance(fault, OSError) and fault.filename and fault.strerror:
        fix = FILE_FIXES.get(number or 0, "look at that file")
        return RunFailed(f"{fault.filename}: {fault.strerror} ({where}){kept}", f"{fix}, then {again}")
    return None


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
