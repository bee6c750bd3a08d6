"""`Tokenizer`: a model's tokenizer read from its files, with the ids that transformers would give and without loading it."""

from __future__ import annotations

import copy
import hashlib
import importlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from autotrain_llm.data.observations import findings_of
from autotrain_llm.data.rules.tokens import the_tokenizer_can_not_be_loaded
from autotrain_llm.declare.bounded import breach
from autotrain_llm.declare.document import parse_json
from autotrain_llm.declare.finding import Refused
from autotrain_llm.declare.lfs import LFS_POINTER, NEVER_DOWNLOADED

NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
SLOW_FILES = (
    "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tekken.json", "vocab.json", "vocab.txt", "tiktoken.model"
)  # fmt: skip
# transformers writes this for "no limit known".
NO_LIMIT = 10**9
# The tokenizers in use have up to a million ids, and files of up to 60 MB. One that is written out takes time and memory by its highest id.
HIGHEST_ID = 1 << 24
LARGE = 64 << 20  # bytes


class Tokenizer:
    """Text to ids and back. `slow` is True if transformers had to be loaded for it."""

    def __init__(
        self, backend: Any, config: dict[str, Any], templates: dict[str, str], slow: bool = False, folder: str = ""
    ) -> None:
        self.backend, self.config, self.templates, self.slow, self.folder = backend, config, templates, slow, folder
        self.special = {name: _content(config.get(name)) for name in NAMED if config.get(name)}
        self._frame: tuple[list[int], list[int]] | None = None

    @classmethod
    def load(cls, folder: str | Path) -> Tokenizer:
        """The tokenizer in a folder. Raises Refused if there is none, or it is damaged."""
        folder = Path(folder)
        try:
            return cls._load(folder)
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as problem:
            path = folder / "tokenizer_config.json"  # a value of another type than transformers writes
            raise _unreadable(folder, path, problem) from problem

    @classmethod
    def _load(cls, folder: Path) -> Tokenizer:
        config = _read_json(folder / "special_tokens_map.json") | _read_json(folder / "tokenizer_config.json")
        templates = _templates(folder, config)
        if (folder / "tokenizer.json").is_file():
            if _size_of_files(folder) > LARGE:
                work = lambda: cls(_backend(folder, config), config, templates).use_all_tokens()  # noqa: E731
                too_much = breach(work)
                if too_much is not None:
                    facts = {"case": "limits", "problem": f"loading it {too_much}"}
                    raise Refused(findings_of(the_tokenizer_can_not_be_loaded, folder=str(folder), **facts))
            return cls(_backend(folder, config), config, templates, folder=str(folder))
        if any((folder / name).is_file() for name in SLOW_FILES):
            return cls._load_slow(folder, config, templates)
        raise Refused(findings_of(the_tokenizer_can_not_be_loaded, folder=str(folder), case="missing"))

    @classmethod
    def _load_slow(cls, folder: Path, config: dict[str, Any], templates: dict[str, str]) -> Tokenizer:
        try:
            whole = importlib.import_module("transformers").AutoTokenizer.from_pretrained(str(folder))
        except Exception as problem:  # each tokenizer class has faults of its own
            first = str(problem).strip().splitlines()[0][:300] if str(problem).strip() else type(problem).__name__
            facts = {"case": "library", "problem": first}
            raise Refused(findings_of(the_tokenizer_can_not_be_loaded, folder=str(folder), **facts)) from problem
        named = {name: str(value) for name, value in whole.special_tokens_map.items() if name in NAMED}
        backend = getattr(whole, "backend_tokenizer", None) or _SlowBackend(whole)
        return cls(backend, config | named, templates, slow=True, folder=str(folder))

    # -- special tokens -------------------------------------------------------------------------------------------------

    @property
    def bos(self) -> str | None:
        """The token that begins a text."""
        return self.special.get("bos_token")

    @property
    def eos(self) -> str | None:
        """The token that ends a text."""
        return self.special.get("eos_token")

    @property
    def pad(self) -> str | None:
        """The padding token."""
        return self.special.get("pad_token")

    @property
    def unk(self) -> str | None:
        """The unknown token."""
        return self.special.get("unk_token")

    @property
    def bos_id(self) -> int | None:
        """The id of `bos`."""
        return self.id_of(self.bos)

    @property
    def eos_id(self) -> int | None:
        """The id of `eos`."""
        return self.id_of(self.eos)

    @property
    def pad_id(self) -> int | None:
        """The id of `pad`."""
        return self.id_of(self.pad)

    @property
    def unk_id(self) -> int | None:
        """The id of `unk`."""
        return self.id_of(self.unk)

    def id_of(self, token: str | None) -> int | None:
        """The id of a token; None if it is not a token."""
        return None if token is None else self.backend.token_to_id(token)

    def differing_token(self, other: Tokenizer) -> str | None:
        """The first token that `other` lacks or has under another id, as a clause about `other`; None if both agree on all ids of this one."""
        own, theirs = (one.backend.get_vocab(with_added_tokens=True) for one in (self, other))
        for token, token_id in sorted(own.items(), key=lambda entry: entry[1]):
            if token not in theirs:
                return f"{token!r} is missing"
            if theirs[token] != token_id:
                return f"{token!r} has the id {theirs[token]} instead of {token_id}"
        return None

    def moved_tokens(self, other: Tokenizer) -> tuple[float, str | None]:
        """The share of the tokens of both that `other` has under another id, and the first of them, as a clause about `other`."""
        own, theirs = (one.backend.get_vocab(with_added_tokens=True) for one in (self, other))
        both = own.keys() & theirs.keys()
        moved = sorted((own[token], token) for token in both if own[token] != theirs[token])
        if not moved:
            return 0.0, None
        token_id, token = moved[0]
        return len(moved) / len(both), f"{token!r} has the id {theirs[token]} instead of {token_id}"

    def tokens_beyond(self, other: Tokenizer) -> list[str]:
        """The tokens that `other` does not have, in the order of their ids."""
        own, theirs = (one.backend.get_vocab(with_added_tokens=True) for one in (self, other))
        return sorted(own.keys() - theirs.keys(), key=lambda token: own[token])

    def added_tokens(self) -> list[str]:
        """All tokens that are never split."""
        return [str(token.content) for token in self.backend.get_added_tokens_decoder().values()]

    def use_all_tokens(self) -> None:
        """Do once what takes time for each token of the vocabulary."""
        self.added_tokens()
        self.fingerprint  # noqa: B018

    # -- what it is -----------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """The number of ids, with added tokens."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    @cached_property
    def ids_end(self) -> int:
        """The number after the largest id: some tokenizers leave numbers out."""
        return max(self.backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @property
    def model_max_length(self) -> int | None:
        """The length limit in the tokenizer's config; None if it has none."""
        limit = self.config.get("model_max_length")
        return int(limit) if isinstance(limit, int | float) and limit < NO_LIMIT else None

    @property
    def chat_template(self) -> str | None:
        """The tokenizer's own chat template."""
        return self.templates.get("default")

    @property
    def fingerprint(self) -> str:
        """A digest that is equal for two tokenizers exactly if they give the same ids and have the same chat template."""
        written = json.dumps(
            [_without_idle_processor(self.backend.to_str()), self.special, self.templates], sort_keys=True
        )
        return hashlib.blake2b(written.encode(), digest_size=16).hexdigest()

    @property
    def bos_eos(self) -> tuple[list[int], list[int]]:
        """The ids that the tokenizer adds before and after a text by itself."""
        if self._frame is None:
            bare = self.backend.encode("a", add_special_tokens=False).ids
            framed = self.backend.encode("a", add_special_tokens=True).ids
            starts = range(len(framed) - len(bare) + 1)
            at = next((start for start in starts if framed[start : start + len(bare)] == bare), 0)
            self._frame = (framed[:at], framed[at + len(bare) :])
        return self._frame

    @property
    def special_tokens(self) -> tuple[list[int], list[int]]:
        """The ids that must surround every text ([CLS] … [SEP]): those of an encoder's tokenizer, else none."""
        return self.bos_eos if "cls_token" in self.special and all(self.bos_eos) else ([], [])

    @cached_property
    def offsets_backend(self) -> Any:
        """The backend for ids with offsets; None for one that can't say which characters a token came from.

        A post-processor with `trim_offsets` leaves spaces out of them, so it is taken off a copy: without special tokens it adds no ids.
        """
        if isinstance(self.backend, _SlowBackend):
            return None
        processor = self.backend.post_processor
        if processor is None or b'"trim_offsets":true' not in processor.__getstate__():
            return self.backend
        untrimmed = copy.deepcopy(self.backend)
        untrimmed.post_processor = None
        return untrimmed

    # -- text to ids ----------------------------------------------------------------------------------------------------

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool = False) -> list[list[int]]:
        """The ids of each text, computed on all cores."""
        return [encoding.ids for encoding in self.encodings(texts, add_special_tokens=add_special_tokens)]

    def encodings(self, texts: Sequence[str], add_special_tokens: bool = False, offsets_by: Any = None) -> list[Any]:
        """The encoding of each text, computed on all cores; with the offsets of `offsets_by`, the `offsets_backend`.

        Raises Refused where the tokenizer breaks off: a regular expression of its pre-tokenizer can fail on a long text.
        """
        encode = self.backend.encode_batch_fast if offsets_by is None else offsets_by.encode_batch
        try:
            encoded: list[Any] = encode(list(texts), add_special_tokens=add_special_tokens)
        except BaseException as problem:
            if not is_panic(problem):
                raise
            facts = {"case": "panic", "problem": str(problem), "longest": max(map(len, texts))}
            raise Refused(findings_of(the_tokenizer_can_not_be_loaded, folder=self.folder, **facts)) from None
        return encoded

    def single_token(self, text: str) -> int | None:
        """The id of a text that is one token: as it is encoded, or as the vocabulary writes it (`\u0120think`); None if it is neither."""
        (ids,) = self.encode_batch([text])
        return ids[0] if len(ids) == 1 and ids[0] != self.unk_id else self.id_of(text)

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text of some ids."""
        return self.backend.decode([int(i) for i in ids], skip_special_tokens=skip_special_tokens)


class _SlowBackend:
    """A tokenizer that only transformers can run, with the calls of a fast one that are used here."""

    def __init__(self, whole: Any) -> None:
        self.whole = whole

    def encode(self, text: str, add_special_tokens: bool = True) -> Any:
        return _Ids(self.whole(text, add_special_tokens=add_special_tokens)["input_ids"])

    def encode_batch(self, texts: list[str], add_special_tokens: bool = True) -> list[Any]:
        return [self.encode(text, add_special_tokens) for text in texts]

    encode_batch_fast = encode_batch

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        return self.whole.decode(ids, skip_special_tokens=skip_special_tokens)

    def token_to_id(self, token: str) -> int | None:
        return self.whole.get_vocab().get(token)

    def get_vocab_size(self, with_added_tokens: bool = True) -> int:
        return len(self.whole)

    def get_vocab(self, with_added_tokens: bool = True) -> dict[str, int]:
        return self.whole.get_vocab()

    def get_added_tokens_decoder(self) -> dict[int, Any]:
        return self.whole.added_tokens_decoder

    def to_str(self) -> str:
        return json.dumps(self.whole.get_vocab(), sort_keys=True)


class _Ids:
    def __init__(self, ids: list[int]) -> None:
        self.ids = ids


def _backend(folder: Path, config: dict[str, Any]) -> Any:
    """The `tokenizers` object, set up as transformers does it: no padding, no truncation, all named tokens added. `add_bos_token` and
    `add_eos_token` of tokenizer_config.json have no effect: with a tokenizer.json, its post-processor decides."""
    from tokenizers import Tokenizer as Backend

    path = folder / "tokenizer.json"
    try:
        backend = Backend.from_file(str(path))
    except BaseException as problem:  # the Rust side raises plain Exception, or panics
        if not isinstance(problem, Exception) and not is_panic(problem):
            raise
        raise _unreadable(folder, path, problem) from None
    highest = max(backend.get_vocab(with_added_tokens=True).values(), default=-1)
    if highest > HIGHEST_ID:
        raise _unreadable(
            folder,
            path,
            ValueError(f"it gives a token the id {highest}, and the largest vocabularies have {HIGHEST_ID} ids"),
        )
    backend.no_padding()
    backend.no_truncation()
    _add_missing_tokens(backend, config)
    return backend


def _size_of_files(folder: Path) -> int:
    """The bytes of the files that tokens are read from."""
    names = ("tokenizer.json", "tokenizer_config.json")
    return sum((folder / name).stat().st_size for name in names if (folder / name).is_file())


def is_panic(problem: BaseException) -> bool:
    """Whether an exception is a panic of a library that is written in Rust. PyO3 raises it past `except Exception`."""
    return type(problem).__name__ == "PanicException"


def _unreadable(folder: Path, path: Path, problem: BaseException) -> Refused:
    """The error for a tokenizer file that is damaged, may not be read, or was never downloaded."""
    facts = {"case": "damaged", "problem": getattr(problem, "strerror", None) or str(problem)}
    try:
        if path.read_bytes().startswith(LFS_POINTER):
            facts = {"case": "pointer", "problem": NEVER_DOWNLOADED}
    except OSError as unreadable:
        facts["problem"] = str(unreadable.strerror)
    return Refused(findings_of(the_tokenizer_can_not_be_loaded, folder=str(folder), file=str(path), **facts))


def _add_missing_tokens(backend: Any, config: dict[str, Any]) -> None:
    """Add the tokens that only tokenizer_config.json has."""
    from tokenizers import AddedToken

    listed = config.get("added_tokens_decoder") or {}
    by_id = [listed[key] for key in sorted(listed, key=int)]
    written = [entry for entry in by_id if isinstance(entry, dict) and backend.token_to_id(entry["content"]) is None]
    keep = ("single_word", "lstrip", "rstrip", "normalized", "special")
    # In one call: the backend builds its search for added tokens anew with each.
    backend.add_tokens(
        [AddedToken(entry["content"], **{key: entry[key] for key in keep if key in entry}) for entry in written]
    )
    existing = {token.content for token in backend.get_added_tokens_decoder().values()}
    named = [_content(config[name]) for name in NAMED if config.get(name)]
    more = [
        _content(token) for token in config.get("additional_special_tokens") or config.get("extra_special_tokens") or []
    ]
    new = [token for token in dict.fromkeys(named + more) if token and token not in existing]
    if new:
        backend.add_special_tokens(new)


def _without_idle_processor(backend: str) -> str:
    """A backend as JSON without a post-processor that adds nothing: transformers writes one when it saves a tokenizer that has none."""
    if '"special_tokens":{}' not in backend:
        return backend
    document = json.loads(backend)
    processor = document.get("post_processor") or {}
    pieces = [piece for name in ("single", "pair") for piece in processor.get(name, ())]
    if processor.get("type") == "TemplateProcessing" and all("Sequence" in piece for piece in pieces):
        document["post_processor"] = None
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _content(token: Any) -> str:
    """A token as text; files write it plain or as an object."""
    return str(token["content"]) if isinstance(token, dict) else str(token) if token else ""


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise _unreadable(path.parent, path, problem) from problem
    if not isinstance(value, dict):
        raise _unreadable(path.parent, path, ValueError("it holds no JSON object"))
    return value


def _read_template(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise _unreadable(path.parent, path, problem) from problem


def _templates(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """The chat templates by name, from wherever the files keep them."""
    template: Any = config.get("chat_template")
    templates = {}
    if isinstance(template, list):
        named = [entry for entry in template if isinstance(entry, dict) and {"name", "template"} <= entry.keys()]
        templates = {str(entry["name"]): str(entry["template"]) for entry in named}
    elif isinstance(template, str):
        templates = {"default": template}
    written = _read_json(folder / "chat_template.json").get("chat_template")
    if isinstance(written, str):
        templates["default"] = written
    if (folder / "chat_template.jinja").is_file():
        templates["default"] = _read_template(folder / "chat_template.jinja")
    for path in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        templates[path.stem] = _read_template(path)
    return templates
