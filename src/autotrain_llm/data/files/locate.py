"""Find the files that a path names, and the split that each belongs to. A path is never looked for on the Hub, and a Hub id never on disk."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotrain_llm.data.files.read import KINDS, PLAIN, STRUCTURED, suffix_of
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.rules.files import a_file_can_not_be_read, the_data_has_no_such_split, the_path_leads_to_no_data
from autotrain_llm.data.wording import listed
from autotrain_llm.declare.document import parse_json
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.special_file import is_special

SPLIT_WORDS = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "eval": "validation", "evaluation": "validation", "test": "test", "testing": "test",
}  # fmt: skip
NOT_DATA = {
    "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json", "package.json", "prepared.json",
    "training_params.json", "training_config.json", "training_args.json", "trainer_state.json", "adapter_config.json",
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "added_tokens.json",
}  # fmt: skip
NOT_TEXTS = ("readme", "license", "requirements", "changelog", "contributing")
OF_A_MODEL = ("tokenizer.json", "tokenizer_config.json", "model.safetensors", "model.safetensors.index.json")
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?\Z")
ALL_ROWS = "all"
OF_EVALUATION = ("validation", "test")  # splits that may be evaluated on, the first of them first
MOST_ENTRIES = 100_000  # files and folders that are looked at for rows; a whole disk has millions


class TooManyFiles(Exception):
    """A folder that holds more than MOST_ENTRIES files and folders."""


@dataclass
class Source:
    """Where rows come from: files by split, or a Hub id."""

    name: str
    splits: dict[str, list[Path]] = field(default_factory=dict)
    root: Path | None = None
    hub_id: str | None = None
    single: bool = False
    on_hub: dict[str, Any] = field(default_factory=dict)  # the splits of a set on the Hub, when it is loaded

    @property
    def names(self) -> list[str]:
        """The names of its splits."""
        return [*(self.on_hub or self.splits)]

    def shown(self, path: Path) -> str:
        """A file's path as findings give it, from where the command was typed, so that a command about it can be typed too."""
        return self.name if self.root is None else str(Path(self.name) / path.relative_to(self.root))


def locate(path_name: str, observations: Observations, flag: str = "--data-path") -> Source | None:
    """The source of rows that a path names; None, with a finding, if there is nothing at the path or it may not be read."""
    path = Path(path_name).expanduser()
    try:
        if path.is_file():
            return Source(path_name, {ALL_ROWS: [path]}, single=True)
        if path.is_dir():
            return _folder(path_name, path, observations, flag)
        if not (looks_like_a_path(path_name) or is_special(path) or _neighbour(path)):
            return Source(path_name, hub_id=path_name)
        if is_special(path):
            observations.add(the_path_leads_to_no_data, flag=flag, path=path_name, case="special")
            return None
        bare = path_name.strip().strip("\"'\u201c\u201d\u2018\u2019\u00ab\u00bb").strip()
        unquoted = bare if bare != path_name and Path(bare).expanduser().exists() else None
        near = None if unquoted else _neighbour(path)
    except PermissionError as problem:
        observations.add(
            a_file_can_not_be_read, file=path_name, case="permission", detail=str(problem.filename), flag=flag
        )
        return None
    case = "address" if "://" in path_name else "several" if "," in path_name else "missing"
    observations.add(
        the_path_leads_to_no_data,
        flag=flag,
        path=path_name,
        case=case,
        nearest=str(near) if near else None,
        unquoted=unquoted,
    )
    return None


def looks_like_a_path(name: str) -> bool:
    """Whether a name can only be a file or folder on this machine."""
    if name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1 or name.endswith("/"):
        return True
    return suffix_of(Path(name)) in KINDS or HUB_ID.match(name) is None


def _neighbour(path: Path) -> Path | None:
    """A file or folder nearby with almost this name."""
    folder = path.parent
    if not folder.is_dir():
        return None
    by_stem = {other.name.split(".")[0]: other.name for other in folder.iterdir() if not other.name.startswith(".")}
    # An ending that is the same says nothing: almost all files of rows have it.
    near = by_stem.get(nearest(path.name.split(".")[0], by_stem, cutoff=0.75) or "")
    return folder / near if near else None


def _folder(name: str, path: Path, observations: Observations, flag: str) -> Source | None:
    try:
        splits = _saved_splits(path)
    except PermissionError:
        raise
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as problem:
        observations.add(a_file_can_not_be_read, file=name, case="saved data set", detail=str(problem), flag=flag)
        return None
    if splits is None and (path / "config.json").is_file() and any((path / file).exists() for file in OF_A_MODEL):
        observations.add(the_path_leads_to_no_data, flag=flag, path=name, case="model")
        return None
    try:
        splits = _file_splits(path) if splits is None else splits
    except PermissionError:
        raise
    except OSError as problem:  # a folder of a running system (/proc, /), or on a disk or network with errors
        detail = (
            f"changes while it is read: {problem.filename} is gone"
            if isinstance(problem, FileNotFoundError)
            else f"can't be searched: {problem.filename}: {problem.strerror}"
        )
        facts = {"detail": detail, "advice": "name the folder of the rows"}
        observations.add(a_file_can_not_be_read, file=name, case="changing", flag=flag, **facts)
        return None
    except TooManyFiles:
        observations.add(the_path_leads_to_no_data, flag=flag, path=name, case="too many files", contents=MOST_ENTRIES)
        return None
    if not splits:
        contents = listed(sorted(item.name for item in path.iterdir())) or "nothing"
        observations.add(
            the_path_leads_to_no_data, flag=flag, path=name, case="no data file", contents=contents, kinds=tuple(KINDS)
        )
        return None
    return Source(name, splits, root=path.absolute())


def splits_in(folder: Path) -> list[str]:
    """The names of the splits of a folder; empty if it can't be read, which is reported when it is opened."""
    try:
        return [*(_saved_splits(folder) or _file_splits(folder))]
    except (OSError, ValueError, KeyError, AttributeError, TypeError, TooManyFiles):
        return []


def _saved_splits(path: Path) -> dict[str, list[Path]] | None:
    """The Arrow files of a folder that `datasets`' `save_to_disk` wrote; None if it isn't one."""
    names = path / "dataset_dict.json"
    if names.is_file():
        listed_splits = parse_json(names.read_text(encoding="utf-8")).get("splits", [])
        return {split: _arrow_files(path / split) for split in listed_splits}
    if (path / "state.json").is_file() and any(path.glob("*.arrow")):
        return {"train": _arrow_files(path)}
    return None


def _arrow_files(folder: Path) -> list[Path]:
    state = parse_json((folder / "state.json").read_text(encoding="utf-8"))
    return [(folder / file["filename"]).absolute() for file in state.get("_data_files", [])]


def _file_splits(path: Path) -> dict[str, list[Path]]:
    files = sorted(file.absolute() for file in files_below(path) if _is_data(file))
    structured = [file for file in files if suffix_of(file) in STRUCTURED]
    plain = [file for file in files if suffix_of(file) in PLAIN and file.stem.lower() not in NOT_TEXTS]
    splits: dict[str, list[Path]] = {}
    for file in structured or plain:
        splits.setdefault(split_of(file.relative_to(path.absolute())), []).append(file)
    return splits


def files_below(folder: Path) -> Iterator[Path]:
    """What is in a folder and those below it, but hidden names and folders; links to folders are not followed. Raises TooManyFiles."""
    seen = 0
    for root, folders, names in os.walk(folder, onerror=_unless_forbidden):
        seen += len(folders) + len(names)
        if seen > MOST_ENTRIES:
            raise TooManyFiles
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(root, name) for name in names if not name.startswith("."))


def _unless_forbidden(problem: OSError) -> None:
    if not isinstance(problem, PermissionError):
        raise problem


def _is_data(file: Path) -> bool:
    return suffix_of(file) in KINDS and file.name not in NOT_DATA and file.is_file()


def split_of(file: Path) -> str:
    """The split that a file in a folder belongs to: from its folders, then from the words of its name."""
    for part in file.parts[:-1]:
        if part.lower() in SPLIT_WORDS:
            return SPLIT_WORDS[part.lower()]
    stem = file.name.split(".")[0].lower()
    if stem in SPLIT_WORDS:
        return SPLIT_WORDS[stem]
    words = re.split(r"[-_ ]+", stem)
    for word in (words[0], words[-1], *words):
        if word in SPLIT_WORDS:
            return SPLIT_WORDS[word]
    return ALL_ROWS


def choose_split(
    source: Source, name: str, observations: Observations, flag: str, data_flag: str = "--data-path"
) -> list[Path]:
    """The files of a split; empty, with a finding, if there is no such split."""
    splits = source.splits
    canonical = SPLIT_WORDS.get(name.lower(), name)
    for spelling in (name, canonical):
        if spelling in splits:
            return splits[spelling]
    if canonical == "train" and ALL_ROWS in splits:
        return splits[ALL_ROWS]
    by_stem = [file for files in splits.values() for file in files if file.name.split(".")[0] == name]
    if by_stem:
        return by_stem
    files = [source.shown(file) for files in splits.values() for file in files]
    if source.single:
        is_path = flag == "--valid-split" and KINDS.get(suffix_of(Path(name))) and Path(name).exists()
        case = "a file of its own" if is_path else "one file"
    else:
        case = "no rows" if not files else "slice" if not re.fullmatch(r"[\w.-]+", name) else "missing"
    observations.add(
        the_data_has_no_such_split,
        flag=flag,
        split=name,
        source=source.name,
        case=case,
        available=files,
        data_flag=data_flag,
        suggested=next(iter(splits), name),
    )
    return []
