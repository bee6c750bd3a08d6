"""The ways in which a run ends early: a failure, or a signal."""

from __future__ import annotations


class RunFailed(Exception):
    """The run started and failed: what happened, and what to change."""

    def __init__(self, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class Interrupted(Exception):
    """A signal ended the run; a checkpoint was saved first where there was something to save."""

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.signal = signal
        self.message = message


def not_a_number(step: int) -> RunFailed:
    """The failure of a run whose loss is NaN or infinite at this step."""
    return RunFailed(
        f"the loss is not a number at step {step}; every complete checkpoint is kept",
        "a lower --lr, more --warmup-ratio, or --mixed-precision bf16 or fp32",
    )


def explain(fault: BaseException, steps_done: int) -> RunFailed | None:
    """The failure, with a fix, behind a library's exception: out of memory or a full disk; None for any other."""
    text = str(fault)
    kind = type(fault).__name__
    where = f"after {steps_done} steps" if steps_done else "in the first step"
    if (
        kind == "OutOfMemoryError"
        or "out of memory" in text.lower()
        or "can't allocate memory" in text.lower()
        or isinstance(fault, MemoryError)
    ):
        return RunFailed(
            f"out of memory {where}",
            "a smaller --batch-size with more --gradient-accumulation, a smaller --block-size, --gradient-checkpointing, or --peft",
        )
    torch_save_failed = "inline_container" in text and "unexpected pos" in text  # torch.save's error on a full disk
    if (isinstance(fault, OSError) and fault.errno == 28) or "No space left on device" in text or torch_save_failed:
        return RunFailed(
            f"the disk is full {where}; every complete checkpoint is kept",
            "free some space, then --resume; or a smaller --save-total-limit",
        )
    return None
