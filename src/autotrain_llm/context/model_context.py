"""Metadata of the models, the tokenizers, and the shape of a new model, for one command. Each is looked up on first use and only once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autotrain_llm.config.registry import GROUP
from autotrain_llm.config.resolved import Config
from autotrain_llm.config.sequence_length import Limit, decide_limit
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.declare.rule import unreachable

if TYPE_CHECKING:
    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
    from autotrain_llm.declare.temporary import TemporaryFolder
    from autotrain_llm.models.metadata import ModelMetadata
    from autotrain_llm.models.planned import PlannedModels

MIN_CONTEXT = 1024  # tokens that a new model takes at least
Value = TypeVar("Value")


def attempt(look_up: Callable[[], Value], findings: list[Finding]) -> Value | None:
    """The result of a lookup; None if it is refused, or a file can't be read, for reasons that are added to `findings`."""
    try:
        return look_up()
    except Refused as refused:
        findings += refused.findings
    except OSError as problem:
        findings.append(unreachable(problem))
    return None


class ModelContext:
    """Metadata of the model, its reference, teacher and reward models; the tokenizer; the shape of a new model.

    A value that can't be looked up is None, and the reasons are added to `findings`. `texts` yields the texts of the training rows, on
    which the tokenizer of a new model is trained; it returns None if the rows can't be read. `planned` are models that earlier stages will
    write.
    """

    def __init__(
        self,
        config: Config,
        token: str | None,
        findings: list[Finding],
        texts: Callable[[], Iterator[str] | None],
        planned: PlannedModels | None = None,
    ) -> None:
        self.config = config
        self.planned = planned
        self.token = token
        self.findings = findings
        self._texts = texts
        self._unavailable: frozenset[str] = frozenset()
        self._secondary: dict[tuple[str, str], ModelMetadata | None] = {}
        self._differing: dict[Path, str | None] = {}
        self._beyond: dict[Path, list[str]] = {}
        self._scratch_folder: TemporaryFolder | None = None

    def reuse_from(self, earlier: ModelContext, same_rows: bool) -> None:
        """Take over the metadata if all parameters of the group Model are equal, and the tokenizer if it is the model's own or was trained on
        the same rows."""
        if any(
            self.config.value_of(param.name) != earlier.config.value_of(param.name) for param in GROUP["Model"].params
        ):
            return
        self._secondary = dict(earlier._secondary)
        names = ["model"]
        if same_rows or not self.is_scratch:
            names += ["tokenizer_folder", "tokenizer"]
            self._scratch_folder = earlier._scratch_folder  # the folder is deleted with the last object that holds it
        vars(self).update({name: vars(earlier)[name] for name in names if name in vars(earlier)})

    def take_tokenizer(self, folder: Path) -> None:
        """Take the tokenizer that another process of this command has trained on the rows."""
        vars(self)["tokenizer_folder"] = folder

    @property
    def is_scratch(self) -> bool:
        from autotrain_llm.models.scratch import is_scratch

        return is_scratch(str(self.config.model))

    # --- metadata ---------------------------------------------------------------------------------------------------

    @cached_property
    def model(self) -> ModelMetadata | None:
        if self.config.model is None:  # rows can be prepared with a tokenizer alone
            return None
        return attempt(lambda: self._metadata(self.config.model, "model"), self.findings)

    @property
    def reference(self) -> ModelMetadata | None:
        """The model of `--model-ref`; None if it names none."""
        return self.secondary("model_ref", self.config.model_ref) if self.config.applies("model_ref") else None

    @property
    def teacher(self) -> ModelMetadata | None:
        """The model of `--teacher-model`; None without distillation."""
        return self.secondary("teacher_model", self.config.teacher_model) if self.config.distills else None

    def without(self, parameters: Iterable[str]) -> None:
        """Don't look up the models that these parameters name: their values are known to be wrong."""
        self._unavailable |= frozenset(parameters)

    def secondary(self, parameter: str, name: str | None) -> ModelMetadata | None:
        """The metadata of another model (reference, teacher, reward model) that a parameter names; None if it names none."""
        if not name or parameter in self._unavailable:
            return None
        if (parameter, name) not in self._secondary:
            self._secondary[parameter, name] = attempt(lambda: self._secondary_metadata(name, parameter), self.findings)
        return self._secondary[parameter, name]

    @property
    def looked_up(self) -> tuple[ModelMetadata, ...]:
        """Every model whose files were read."""
        own = [vars(self).get("model")]
        return tuple(metadata for metadata in (*own, *self._secondary.values()) if metadata is not None)

    def _secondary_metadata(self, name: str, parameter: str) -> ModelMetadata:
        """Raises Refused; if the model is a default, the finding names the metric that needs it."""
        try:
            return self._metadata(name, parameter)
        except Refused as refused:
            if parameter != "eval_bertscore_model" or self.config.given(parameter):
                raise
            raise Refused(map(_needed_by_bertscore, refused.findings)) from None

    def _metadata(self, name: str, parameter: str) -> ModelMetadata:
        from autotrain_llm.models.locate import locate
        from autotrain_llm.models.metadata import read_metadata

        config = self.config
        planned = self.planned.find(name) if self.planned is not None else None
        located = planned or locate(
            name,
            revision=config.revision if parameter == "model" else None,
            cache_dir=config.cache_dir,
            offline=config.offline,
            token=self.token,
            parameter=parameter,
        )
        return read_metadata(located)

    # --- tokenizers -------------------------------------------------------------------------------------------------

    @cached_property
    def tokenizer_folder(self) -> Path | None:
        """The folder of the tokenizer's files; a new model's tokenizer is trained on the rows, in a folder that is deleted with this object."""
        if name := self.config.tokenizer:
            metadata = attempt(lambda: self._metadata(name, "tokenizer"), self.findings)
            return metadata.tokenizer_folder or metadata.located.folder if metadata else None
        if self.is_scratch:
            return attempt(self._train_tokenizer, self.findings)
        return self.model.tokenizer_folder if self.model else None

    def _train_tokenizer(self) -> Path | None:
        from autotrain_llm.declare.temporary import TemporaryFolder
        from autotrain_llm.models.scratch import train_tokenizer

        texts = self._texts()
        if texts is None:
            return None
        self._scratch_folder = TemporaryFolder("tokenizer")
        return train_tokenizer(texts, self._scratch_folder.path).folder

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

        folder = self.tokenizer_folder
        return attempt(lambda: Tokenizer.load(folder), self.findings) if folder else None

    def differing_token(self, other: ModelMetadata) -> str | None:
        """The first token that another model's tokenizer lacks or maps to another id, in words; None if there is none, or the tokenizers
        can't be compared."""
        folder = other.tokenizer_folder
        if folder is None:
            return None
        if folder not in self._differing:
            own, theirs = self.tokenizer, _tokenizer_in(folder)
            self._differing[folder] = own.differing_token(theirs) if own and theirs else None
        return self._differing[folder]

    def moved_tokens(self, other: ModelMetadata) -> tuple[float, str | None]:
        """The share of tokens that another model's tokenizer maps to another id, and the first of them; (0, None) if the tokenizers can't be
        compared."""
        own, theirs = self.tokenizer, _tokenizer_in(other.tokenizer_folder)
        return own.moved_tokens(theirs) if own and theirs else (0.0, None)

    def tokens_beyond(self, other: ModelMetadata) -> list[str]:
        """The tokens that another model's tokenizer does not have; none if the tokenizers can't be compared."""
        folder = other.tokenizer_folder
        if folder is None:
            return []
        if folder not in self._beyond:
            own, theirs = self.tokenizer, _tokenizer_in(folder)
            self._beyond[folder] = own.tokens_beyond(theirs) if own and theirs else []
        return self._beyond[folder]

    # --- sizes ------------------------------------------------------------------------------------------------------

    @property
    def context_length(self) -> int | None:
        """The longest input that the model was made for, in tokens."""
        return self.model.context_length if self.model and not self.is_scratch else None

    @cached_property
    def limit(self) -> Limit:
        return decide_limit(self.config, self.context_length)

    @cached_property
    def shape(self) -> dict[str, Any] | None:
        """The arguments of a new model's LlamaConfig."""
        from autotrain_llm.models.scratch import choose_shape, parse_size

        config, tokenizer = self.config, self.tokenizer
        if not self.is_scratch or tokenizer is None:
            return None
        completion = config.rl_max_new_tokens if config.trainer_spec.samples else 0
        longest = max(self.limit.tokens + completion, MIN_CONTEXT)
        return attempt(lambda: choose_shape(parse_size(config.model), tokenizer.size, longest), self.findings)

    @property
    def parameters(self) -> int | None:
        """How many parameters the model has."""
        from autotrain_llm.models.scratch import count_parameters

        if self.is_scratch:
            return count_parameters(self.shape) if self.shape else None
        return self.model.parameters if self.model else None


def _needed_by_bertscore(finding: Finding) -> Finding:
    message = f"--eval-metrics bertscore: {finding.message}"
    return finding.replace(message=message, parameters=("eval_metrics", *finding.parameters))


def _tokenizer_in(folder: Path | None) -> Tokenizer | None:
    """Another model's tokenizer; None if there is none, or it can't be read (another rule reports that)."""
    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

    try:
        return Tokenizer.load(folder) if folder else None
    except Refused:
        return None
