"""A model's weight files: present, missing or damaged, and their tensors by their headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autotrain_llm.declare.parts import SHARDED_MODEL
from autotrain_llm.models.locate import Located, read_json
from autotrain_llm.models.safetensors_header import Damaged, Tensor, read_header, read_offsets

INDEX = "model.safetensors.index.json"
# Weights in other formats, under other names, or not yet there.
OTHERS = (
    "*.safetensors", "*.incomplete", "*.part", "*.crdownload", "*.aria2", "*.pth", "*.pt", "*.ckpt", "*.h5", "*.msgpack", "*.npz", "*.onnx",
    "zero_to_fp32.py", "*.distcp", "*/*.distcp",
)  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """A model's weight files. `tensors` are the safetensors' tensors by name, `home` is the file of each, `missing` are the shards that an
    index names and that do not exist, `damaged` are the faults of files, by name. Without safetensors, `pickles` are the `.bin` files
    and `others` the weight files of formats that can't be loaded. `index_fault` is what is wrong with an index that can't be read."""

    files: tuple[str, ...] = ()
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    home: Mapping[str, Path] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    damaged: Mapping[str, str] = field(default_factory=dict)
    pickles: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    index_fault: str | None = None


def read_weights(folder: Path, stem: str = "model") -> Weights:
    """The weight files of a folder: those an index names, else one file, else any safetensors, else pickles."""
    index = folder / f"{stem}.safetensors.index.json"
    expected = _shards(index)
    if not expected and stem == "model" and (folder / SHARDED_MODEL).is_dir():
        return _of_parts(folder / SHARDED_MODEL)
    if not expected:
        single = folder / f"{stem}.safetensors"
        paths = [single] if single.exists() else sorted(folder.glob("model*.safetensors")) if stem == "model" else []
        expected = [path.name for path in paths]
    present = [name for name in expected if (folder / name).is_file()]
    tensors: dict[str, Tensor] = {}
    home: dict[str, Path] = {}
    damaged: dict[str, str] = {}
    for name in present:
        try:
            header = read_header(folder / name)
        except Damaged as fault:
            damaged[name] = str(fault)
            continue
        tensors |= header
        home |= dict.fromkeys(header, folder / name)
    stored = "pytorch_model*.bin" if stem == "model" else f"{stem}.bin"
    pickles = () if present else tuple(sorted(path.name for path in folder.glob(stored)))
    missing = tuple(name for name in expected if name not in present)
    others = () if present or pickles or missing else _others(folder)
    unread = None if missing or f"{stem}.safetensors" in present else _index_fault(index)
    return Weights(tuple(present), tensors, home, missing, damaged, pickles, others, unread)


def _of_parts(folder: Path) -> Weights:
    """The tensors that several processes wrote a part of each: their whole shapes, which follow from where the parts lie."""
    tensors: dict[str, Tensor] = {}
    home: dict[str, Path] = {}
    damaged: dict[str, str] = {}
    paths = sorted(folder.glob("*.safetensors"))
    for path in paths:
        try:
            header, offsets = read_header(path), read_offsets(path)
        except Damaged as fault:
            damaged[path.name] = str(fault)
            continue
        for name, part in header.items():
            ends = [
                at + length for at, length in zip(offsets.get(name) or [0] * len(part.shape), part.shape, strict=True)
            ]
            so_far = tensors.get(name)
            shape = tuple(map(max, ends, so_far.shape)) if so_far else tuple(ends)
            if so_far is None or part.size > so_far.size:
                home[name] = path
            tensors[name] = Tensor(part.dtype, shape, part.start, part.end)
    return Weights(tuple(path.name for path in paths), tensors, home, damaged=damaged)


def _others(folder: Path) -> tuple[str, ...]:
    return tuple(sorted({path.name for pattern in OTHERS for path in folder.glob(pattern)}))


def _index_fault(index: Path) -> str | None:
    """What is wrong with an index file that lists no shards."""
    if not index.exists() or _shards(index):
        return None
    document = read_json(index)
    return "is no JSON" if document is None else "has no weight_map, which maps tensors to files"


def remote_weights(located: Located, stem: str = "model") -> Weights:
    """The same for a model on the Hub, by the names of its files alone."""
    names = located.remote_files or ()
    files = tuple(name for name in names if name.startswith(stem) and name.endswith(".safetensors"))
    pickles = tuple(name for name in names if name.startswith(("pytorch_model", stem)) and name.endswith(".bin"))
    expected = _shards(located.folder / f"{stem}.safetensors.index.json") if located.folder else []
    missing = tuple(name for name in expected if name not in names)
    return Weights(files, missing=missing, pickles=() if files else pickles)


def _shards(index: Path) -> list[str]:
    named = (read_json(index) or {}).get("weight_map")
    return sorted({str(file) for file in named.values()}) if isinstance(named, dict) else []


def index_names(folder: Path) -> tuple[str, ...]:
    """The tensors that a sharded model's index names; nothing for a model in one file."""
    named = (read_json(folder / INDEX) or {}).get("weight_map")
    return tuple(named) if isinstance(named, dict) else ()
