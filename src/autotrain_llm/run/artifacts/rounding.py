"""How much of what a training has changed is lost when the finished weights are rounded to 16 bits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from autotrain_llm.models.identity import safetensors_in
from autotrain_llm.models.locate import Located

SAMPLE, PIECES = 1 << 20, 16  # values of a larger tensor that are compared, and the blocks of rows that they are in


class Rounding:
    """The part of a change of weights that is left when they are rounded to `dtype`.

    With the change d of the weights and r, the change of the rounded weights against the rounded ones of before, the share that is lost is 1 - <r, d> / <d, d>,
    over all tensors that the files of the base model have too; of large ones over blocks of rows.
    """

    def __init__(self, base: Located | None, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._files = _by_tensor(base) if base is not None and dtype in (torch.bfloat16, torch.float16) else {}
        self._changed = self._left = 0.0

    @property
    def lost(self) -> float | None:
        """The share, from 0 to 1; None if nothing was changed or compared."""
        return min(1.0, max(0.0, 1 - self._left / self._changed)) if self._changed > 0 else None

    def add(self, name: str, weight: torch.Tensor) -> None:
        """Compare a trained weight, in float32, with that of the base model's files. One that these have in another form is left out."""
        file = self._files.get(name)
        if file is None or weight.dtype != torch.float32:
            return
        stored = file.get_slice(name)
        if not weight.dim() or tuple(stored.get_shape()) != tuple(weight.shape):
            return
        pieces = list(_pieces(weight.shape))
        whole = weight.shape[0] / sum(piece.stop - piece.start for piece in pieces)
        for piece in pieces:
            before, after = stored[piece].to(weight.device, torch.float32), weight.detach()[piece]
            change = (after - before).double()
            rounded = after.to(self.dtype).double() - before.to(self.dtype).double()
            self._changed += whole * float((change * change).sum())
            self._left += whole * float((rounded * change).sum())

    def add_all(self, model: Any) -> None:
        for name, parameter in model.named_parameters():
            self.add(name, parameter)


def _by_tensor(base: Located) -> Mapping[str, Any]:
    """The mapped weight files of a base model, by the tensors in them; those that can't be read are left out."""
    while base.base is not None:
        base = base.base
    files: dict[str, Any] = {}
    for path in safetensors_in(Path(base.folder)) if base.folder is not None else []:
        with suppress(OSError, SafetensorError):
            file = safe_open(path, framework="pt")
            files |= dict.fromkeys(file.keys(), file)
    return files


def _pieces(shape: torch.Size) -> Iterator[slice]:
    """All rows of a small tensor, and PIECES blocks of those of a large one."""
    rows, width = shape[0], max(1, math.prod(shape[1:]))
    length = max(1, SAMPLE // PIECES // width)
    if rows <= length * PIECES:
        yield slice(0, rows)
        return
    for index in range(PIECES):
        start = (rows - length) * index // (PIECES - 1)
        yield slice(start, start + length)
