"""The header of a safetensors file: names, types and shapes of its tensors, without reading one of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from autotrain_llm.declare.document import parse_json
from autotrain_llm.declare.lfs import LFS_POINTER

LARGEST_HEADER = 100_000_000
# Other files that were saved under this name, by their first bytes.
PRETENCES = {
    b"<": "is an HTML page, as a link or a login answers in place of a file",
    b"PK\x03\x04": "is no safetensors file but a zip archive, as PyTorch's pickles are, under another name",
    b"\x80": "is no safetensors file but a pickle under another name",
    b"GGUF": "is no safetensors file but GGUF under another name, a form for inference that can't be trained",
}


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file: its type in safetensors' notation (`BF16`), its shape, and the position of its bytes in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Damaged(Exception):
    """The file is not a complete safetensors file; the message is a predicate such as `is truncated`."""


def read_header(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name. Raises Damaged if it is a Git LFS pointer, truncated or not a safetensors file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if LFS_POINTER.startswith(prefix) and prefix:
            raise Damaged("is a Git LFS pointer, not the weights: they were never downloaded")
        length = int.from_bytes(prefix, "little")
        if size < 8 or length > min(size - 8, LARGEST_HEADER):
            raise Damaged("is empty" if size == 0 else _pretence(prefix))
        text = file.read(length)
    tensors = _parse(text, begin=8 + length)
    if not tensors:
        raise Damaged("holds no tensors")
    end = max((tensor.end for tensor in tensors.values()), default=8 + length)
    if size < end:
        raise Damaged(f"is truncated: it has {size} bytes, and needs {end} for the tensors in its header")
    return tensors


def read_offsets(path: Path) -> dict[str, list[int]]:
    """Where the tensors of a file lie in whole tensors, in a file of torch.distributed.checkpoint 2.13; empty in any other. The file has a header."""
    with path.open("rb") as file:
        text = file.read(int.from_bytes(file.read(8), "little"))
    kept = parse_json(text).get("__metadata__") or {}
    parts = parse_json(kept.get("DCP_SHARDING_INFO") or "{}")
    return {name: list(entry["saved_offsets"]) for name, entry in parts.items()}


def _pretence(start: bytes) -> str:
    """What a file is whose first bytes are not the length of a header."""
    found = (what for mark, what in PRETENCES.items() if start.startswith(mark))
    return next(found, "is truncated or no safetensors file: its header is not whole")


def _parse(text: bytes, begin: int) -> dict[str, Tensor]:
    try:
        entries = parse_json(text)
        entries.pop("__metadata__", None)
        return {
            name: Tensor(
                str(entry["dtype"]),
                tuple(int(length) for length in entry["shape"]),
                begin + int(entry["data_offsets"][0]),
                begin + int(entry["data_offsets"][1]),
            )
            for name, entry in entries.items()
        }
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise Damaged("is no safetensors file: its header can't be read") from error


def is_all_zero(path: Path, tensor: Tensor) -> bool:
    """Whether every byte of one tensor is zero; for small tensors such as a score head."""
    with path.open("rb") as file:
        file.seek(tensor.start)
        return not any(file.read(tensor.end - tensor.start))
