"""Everything that is known about one command's world, each part looked up when it is first asked for and never twice.

What a part finds wrong on the way is kept in `findings`; a part that can't be had is None.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.config.registry import GROUP
from autotrain_llm.config.resolved import Config
from autotrain_llm.config.sequence_length import Limit, decide_limit
from autotrain_llm.context.machine import Machine, machine_for
from autotrain_llm.context.output_dir import Output, find_output
from autotrain_llm.declare.finding import ERROR, Finding, Refused
from autotrain_llm.declare.param import flag_of
from autotrain_llm.trainers.sft import Sft

if TYPE_CHECKING:
    import tempfile

    from autotrain_llm.data.dataset import Dataset, Progress
    from autotrain_llm.data.quality.cross_row_checks import RowChecks
    from autotrain_llm.data.tokenize.prepare import Prepared
    from autotrain_llm.data.tokenize.settings import Preparation
    from autotrain_llm.data.tokenize.teacher_rows import TeacherRows
    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
    from autotrain_llm.models.metadata import ModelMetadata

UNLIMITED = 1 << 30  # tokens


class RunContext:
    """The machine, the output folder, the model's files and the rows, as one command sees them."""

    def __init__(self, config: Config, machine: Machine | None = None, progress: Progress | None = None) -> None:
        self.config = config
        self.progress = progress
        target = config.target_memory
        self.machine = machine or machine_for(target, elsewhere=bool(config.dry_run))
        self.findings: list[Finding] = []
        self.not_looked_for: set[str] = set()  # parameters that are known to name no model
        self._others: dict[tuple[str, str], ModelMetadata | None] = {}
        self._differing: dict[Path, str | None] = {}
        self._scratch_folder: tempfile.TemporaryDirectory[str] | None = None

    def reuse_from(self, earlier: RunContext) -> None:
        """Take over what an earlier command of this process has looked up, where this one would look up the same.

        What it found wrong on the way stays with the earlier one.
        """
        if all(self.config.value_of(name) == earlier.config.value_of(name) for name in ("target_memory", "dry_run")):
            self.machine = earlier.machine
        known, mine = vars(earlier), vars(self)
        same_model = (param.name for param in GROUP["Model"].params)
        if all(self.config.value_of(name) == earlier.config.value_of(name) for name in same_model):
            mine["_others"] = dict(earlier._others)
            same = ["model"]
        else:
            same = []
        if "dataset" in known and self._request() == earlier._request():
            same += ["_written", "row_checks", "dataset"] if self.prompt_templates == earlier.prompt_templates else []
        if "model" in same and ("dataset" in same or not self.is_scratch):
            same += ["tokenizer_folder", "tokenizer"]
            self._scratch_folder = earlier._scratch_folder
        mine |= {name: known[name] for name in same if name in known}
        rows_are_known = {"dataset", "tokenizer"} <= set(same) and "prepared" in known
        if rows_are_known and self.preparation == earlier.preparation:
            mine["prepared"] = known["prepared"]
            if "teacher_rows" in known and self.config.teacher_model == earlier.config.teacher_model:
                mine["teacher_rows"] = known["teacher_rows"]

    def _try(self, look: Callable[[], Any]) -> Any:
        """What `look` finds, or None with its findings kept."""
        try:
            return look()
        except Refused as refused:
            self.findings += refused.findings
            return None

    @property
    def refused(self) -> bool:
        return any(finding.severity == ERROR for finding in self.findings)

    @cached_property
    def output(self) -> Output:
        return find_output(self.config)

    @property
    def token(self) -> str | None:
        return self.config.token or self.machine.hub_token

    @property
    def is_scratch(self) -> bool:
        from autotrain_llm.models.scratch import is_scratch

        return is_scratch(str(self.config.model))

    # --- the model's files ------------------------------------------------------------------------------------------

    @cached_property
    def model(self) -> ModelMetadata | None:
        """What the model's files say."""
        return self._try(lambda: self._metadata(self.config.model, "model"))

    @cached_property
    def reference(self) -> ModelMetadata | None:
        """What the files of `--model-ref` say; None where it names no model."""
        return self.secondary_model("model_ref", self.config.model_ref) if self.config.applies("model_ref") else None

    def secondary_model(self, parameter: str, name: str | None) -> ModelMetadata | None:
        """What the files of a second model say, which a parameter names; None where it names none."""
        if not name or parameter in self.not_looked_for:
            return None
        if (parameter, name) not in self._others:
            self._others[parameter, name] = self._try(lambda: self._second(name, parameter))
        return self._others[parameter, name]

    @property
    def models(self) -> tuple[ModelMetadata, ...]:
        """Every model whose files were looked at."""
        own = [vars(self).get("model")]
        return tuple(facts for facts in (*own, *self._others.values()) if facts is not None)

    def _second(self, name: str, parameter: str) -> ModelMetadata:
        """A second model's files. Raises Refused, with the metric to blame where it is that which asks for a model nobody named."""
        try:
            return self._metadata(name, parameter)
        except Refused as refused:
            if parameter != "eval_bertscore_model" or self.config.given(parameter):
                raise
            raise Refused(
                finding.replace(
                    message=f"--eval-metrics bertscore: {finding.message}",
                    parameters=("eval_metrics", *finding.parameters),
                )
                for finding in refused.findings
            ) from None

    def _metadata(self, name: str, parameter: str) -> ModelMetadata:
        from autotrain_llm.models.locate import locate
        from autotrain_llm.models.metadata import read_metadata

        config = self.config
        located = locate(
            name,
            revision=config.revision if parameter == "model" else None,
            cache_dir=config.cache_dir,
            offline=config.offline,
            token=self.token,
            parameter=parameter,
        )
        return read_metadata(located)

    @cached_property
    def tokenizer_folder(self) -> Path | None:
        """Where the tokenizer's files are; for a new model they are made from the rows, in a folder that goes with this object."""
        if name := self.config.tokenizer:
            facts = self._try(lambda: self._metadata(name, "tokenizer"))
            return facts.tokenizer_folder or facts.located.folder if facts else None
        if self.is_scratch:
            return self._try(self._train_tokenizer)
        return self.model.tokenizer_folder if self.model else None

    def _train_tokenizer(self) -> Path | None:
        import tempfile

        from autotrain_llm.data.dataset import texts
        from autotrain_llm.models.scratch import train_tokenizer

        if self.dataset is None:
            return None
        self._scratch_folder = tempfile.TemporaryDirectory(prefix="autotrain-tokenizer-")
        return train_tokenizer(texts(self.dataset), Path(self._scratch_folder.name)).folder

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

        folder = self.tokenizer_folder
        return self._try(lambda: Tokenizer.load(folder)) if folder else None

    def differing_token(self, other: ModelMetadata) -> str | None:
        """The first token that another model's tokenizer has under another id or not at all, in words; None where there is none, or no telling."""
        folder = other.tokenizer_folder
        if folder is None:
            return None
        if folder not in self._differing:
            own, theirs = self.tokenizer, self._tokenizer_of(folder)
            self._differing[folder] = own.differing_token(theirs) if own and theirs else None
        return self._differing[folder]

    def moved_tokens(self, other: ModelMetadata) -> tuple[float, str | None]:
        """The share of tokens that another model's tokenizer has under another id, and the first of them; none where there is no telling."""
        own, theirs = self.tokenizer, self._tokenizer_of(other.tokenizer_folder)
        return own.moved_tokens(theirs) if own and theirs else (0.0, None)

    def _tokenizer_of(self, folder: Path | None) -> Tokenizer | None:
        """Another model's tokenizer; None where there is none, or one that can't be read, of which another rule speaks."""
        from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

        try:
            return Tokenizer.load(folder) if folder else None
        except Refused:
            return None

    @property
    def context_length(self) -> int | None:
        """The longest input the model was made for, in tokens."""
        return self.model.context_length if self.model and not self.is_scratch else None

    @cached_property
    def limit(self) -> Limit:
        return decide_limit(self.config, self.context_length)

    @cached_property
    def shape(self) -> dict[str, Any] | None:
        """The arguments of a new model's LlamaConfig."""
        from autotrain_llm.models.scratch import choose_shape, parse_size

        tokenizer = self.tokenizer
        if not self.is_scratch or tokenizer is None:
            return None
        return self._try(
            lambda: choose_shape(
                parse_size(self.config.model), tokenizer.size, max(self.limit.tokens + self._answer, 1024)
            )
        )

    @property
    def _answer(self) -> int:
        """Tokens that a model's own answers add to a row."""
        return self.config.rl_max_new_tokens if self.config.trainer_spec.samples else 0

    @property
    def parameters(self) -> int | None:
        """How many parameters the model has."""
        from autotrain_llm.models.scratch import count_parameters

        if self.is_scratch:
            return count_parameters(self.shape) if self.shape else None
        return self.model.parameters if self.model else None

    # --- the rows ---------------------------------------------------------------------------------------------------

    @cached_property
    def dataset(self) -> Dataset | None:
        """The rows, found, read, recognised and converted, their prompts as the student sees them."""
        from autotrain_llm.data.prompt_template import with_prompts

        template = self.prompt_templates[0]
        return self._written if self._written is None or template is None else with_prompts(self._written, template)

    @cached_property
    def _written(self) -> Dataset | None:
        """The rows as they are written."""
        from autotrain_llm.data.load.open import open_data

        dataset = self._try(lambda: open_data(self._request(), self.progress))
        if dataset is not None:
            self.findings += dataset.findings
        return dataset

    @property
    def _only_looks(self) -> bool:
        """Whether nothing is trained on, so that some rows may do."""
        return bool(self.config.dry_run) or self.config.preview_data is not None

    @property
    def reads_part_of_the_rows(self) -> bool:
        """Whether `--check-rows` left rows unread, as a dry run or a preview may: what is counted is counted of the others alone."""
        return self._written is not None and self._written.cut_short

    @cached_property
    def row_checks(self) -> RowChecks:
        """The rows beside each other, as they are written."""
        from autotrain_llm.data.quality.cross_row_checks import RowChecks, check_rows

        if self._written is None:
            return RowChecks()
        config = self.config
        return check_rows(
            self._written,
            most=config.check_rows,
            secrets=bool(config.check_secrets),
            seed=config.seed,
        )

    @property
    def distills(self) -> bool:
        """Whether a teacher is learnt from."""
        return bool(self.config.applies("use_distillation") and self.config.use_distillation)

    @property
    def prompt_templates(self) -> tuple[str | None, str | None]:
        """How the student and its teacher see a prompt; None as it is written."""
        if not self.distills:
            return None, None
        student, teacher = self.config.student_prompt_template, self.config.teacher_prompt_template
        return student, student if teacher is None else teacher

    def _request(self) -> Any:
        from autotrain_llm.data.request import DataRequest

        config = self.config
        columns = {"text_column": "text_column"}
        if config.applies("prompt_text_column"):
            columns["prompt_column"] = "prompt_text_column"
        if config.applies("rejected_text_column"):
            columns["rejected_column"] = "rejected_text_column"
        return DataRequest(
            path=config.data_path,
            rows=config.trainer_spec.rows,
            train_split=config.train_split,
            valid_split=config.valid_split,
            eval_path=config.eval_dataset_path,
            named=tuple(field for field, name in columns.items() if config.given(name)),
            max_samples=config.max_samples,
            most_rows=config.check_rows if self._only_looks else None,
            seed=config.seed,
            cache_dir=config.cache_dir,
            offline=config.offline,
            token=self.token,
            trainer=config.trainer,
            **{field: getattr(config, name) for field, name in columns.items()},
        )

    @cached_property
    def preparation(self) -> Preparation:
        """How rows become tokens."""
        from autotrain_llm.data.tokenize.settings import Preparation

        config = self.config
        scored = config.trainer_spec.rows == "scored"
        return Preparation(
            max_length=self.limit.tokens,
            length_given=self.limit.given,
            length_flag=flag_of(self.limit.parameter),
            block=config.trainer_spec.rows == "documents",
            response_only=self._response_only,
            add_eos=config.add_eos_token if config.applies("add_eos_token") else not scored,
            scored=scored,
            add_eos_given=config.given("add_eos_token"),
            chat_template=config.chat_template if config.applies("chat_template") else None,
            packing=bool(config.applies("packing") and config[Sft].packing),
            sides_given=tuple(
                name
                for name in ("max_prompt_length", "max_completion_length")
                if config.given(name) and config.applies(name)
            ),
            max_prompt_length=config.max_prompt_length if config.applies("max_prompt_length") else None,
            max_completion_length=config.max_completion_length if config.applies("max_completion_length") else None,
        )

    @property
    def _response_only(self) -> bool | None:
        """Documents are learnt whole, whatever they were written as; else what was asked for, None for the usual."""
        if self.config.trainer_spec.rows == "documents":
            return False
        return self.config[Sft].response_only_loss if self.config.applies("response_only_loss") else None

    @cached_property
    def prepared(self) -> Prepared | None:
        """The rows as tokens: what training uses is this very object."""
        from autotrain_llm.data.tokenize.prepare import prepare

        dataset, tokenizer = self.dataset, self.tokenizer
        if dataset is None or tokenizer is None:
            return None
        prepared = self._try(
            lambda: prepare(dataset, tokenizer, self.preparation, self.cache, self.progress, lambda: self.row_checks)
        )
        if prepared is not None:
            self.findings += prepared.findings
        return prepared

    @property
    def teacher(self) -> ModelMetadata | None:
        """What the files of `--teacher-model` say; None where nothing is distilled."""
        return self.secondary_model("teacher_model", self.config.teacher_model) if self.distills else None

    @cached_property
    def teacher_rows(self) -> TeacherRows | None:
        """The prepared rows as the teacher sees them; None where that is as the student does."""
        from autotrain_llm.data.prompt_template import with_prompts
        from autotrain_llm.data.tokenize.prepare import prepare
        from autotrain_llm.data.tokenize.teacher_rows import align

        prepared, written, tokenizer = self.prepared, self._written, self.tokenizer
        student, template = self.prompt_templates
        if template is None or template == student or prepared is None or written is None or tokenizer is None:
            return None
        context_length = self.teacher.context_length if self.teacher else None
        whole = dataclasses.replace(
            self.preparation,
            max_length=context_length or UNLIMITED,
            max_prompt_length=None,
            max_completion_length=None,
            length_given=False,
            sides_given=(),
            packing=False,
        )
        seen = with_prompts(written, template)
        rows = self._try(lambda: prepare(seen, tokenizer, whole, self.cache, self.progress))
        return None if rows is None else align(prepared, rows, written.train, written.valid)

    @cached_property
    def cache(self) -> Path | None:
        """Where prepared rows are kept between runs; a dry run leaves nothing behind."""
        if self.config.dry_run:
            return None
        folder = self.config.cache_dir or self.machine.environment.get("XDG_CACHE_HOME") or "~/.cache"
        return Path(folder).expanduser() / "autotrain-llm" / "rows"
