"""The rows of one command: as read, checked against each other, and as tokens. Each is computed on first use and only once."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.machine import Machine
from autotrain_llm.context.model_context import ModelContext, attempt
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.trainers.sft import Sft

if TYPE_CHECKING:
    from autotrain_llm.data.dataset import Dataset, Progress
    from autotrain_llm.data.quality.cross_row_checks import RowChecks
    from autotrain_llm.data.request import DataRequest
    from autotrain_llm.data.tokenize.prepare import Prepared
    from autotrain_llm.data.tokenize.settings import Preparation
    from autotrain_llm.data.tokenize.teacher_rows import TeacherRows

UNLIMITED = 1 << 30  # tokens
# Fields of DataRequest that name a column, and the parameters that set them.
COLUMNS = {
    "text_column": "text_column",
    "prompt_column": "prompt_text_column",
    "rejected_column": "rejected_text_column",
}


class DataContext:
    """The rows of a command. Rows that can't be read are None, and the reasons are added to `findings`."""

    def __init__(
        self,
        config: Config,
        models: ModelContext,
        machine: Machine,
        findings: list[Finding],
        progress: Progress | None = None,
    ) -> None:
        self.config, self.models, self.machine = config, models, machine
        self.findings, self.progress = findings, progress

    # --- reuse ------------------------------------------------------------------------------------------------------

    def has_rows_of(self, earlier: DataContext) -> bool:
        """Whether an earlier command has read the rows that this one would read: the same request, and the same prompt templates."""
        was_read = "dataset" in vars(earlier)
        return was_read and self._request == earlier._request and self._prompt_templates == earlier._prompt_templates

    def reuse_from(self, earlier: DataContext) -> None:
        """Take over the rows that are the same: the tokens if the tokenizer was taken over and the preparation is equal, the teacher's rows
        if the teacher is the same too."""
        if not self.has_rows_of(earlier):
            return
        names = ["as_written", "row_checks", "dataset"]
        if "tokenizer" in vars(self.models) and "prepared" in vars(earlier) and self.preparation == earlier.preparation:
            names.append("prepared")
            if self.config.teacher_model == earlier.config.teacher_model:
                names.append("teacher_rows")
        vars(self).update({name: vars(earlier)[name] for name in names if name in vars(earlier)})

    # --- rows -------------------------------------------------------------------------------------------------------

    @cached_property
    def dataset(self) -> Dataset | None:
        """The rows with their prompts as the student sees them."""
        from autotrain_llm.data.prompt_template import with_prompts

        rows, template = self.as_written, self._prompt_templates[0]
        return rows if rows is None or template is None else with_prompts(rows, template)

    @cached_property
    def as_written(self) -> Dataset | None:
        """The rows: located, read, their format detected, converted."""
        from autotrain_llm.data.load.open import open_data

        dataset = attempt(lambda: open_data(self._request, self.progress), self.findings)
        if dataset is not None:
            self.findings += dataset.findings
        return dataset

    @property
    def is_partial(self) -> bool:
        """Whether a dry run or a preview stopped reading at `--check-rows`: counts are then those of the rows that were read."""
        return self.as_written is not None and self.as_written.cut_short

    @cached_property
    def row_checks(self) -> RowChecks:
        """Duplicates, leakage and secrets among the rows."""
        from autotrain_llm.data.quality.cross_row_checks import RowChecks, check_rows

        if self.as_written is None:
            return RowChecks()
        config = self.config
        return check_rows(self.as_written, most=config.check_rows, secrets=bool(config.check_secrets), seed=config.seed)

    @property
    def _prompt_templates(self) -> tuple[str | None, str | None]:
        """The templates of the student's and the teacher's prompts; None if prompts are used unchanged."""
        if not self.config.distills:
            return None, None
        student, teacher = self.config.student_prompt_template, self.config.teacher_prompt_template
        return student, student if teacher is None else teacher

    @property
    def _request(self) -> DataRequest:
        from autotrain_llm.data.request import DataRequest

        config = self.config
        columns = {field: name for field, name in COLUMNS.items() if config.applies(name)}
        only_checked = bool(config.dry_run) or config.preview_data is not None
        return DataRequest(
            path=config.data_path,
            rows=config.trainer_spec.rows,
            train_split=config.train_split,
            valid_split=config.valid_split,
            eval_path=config.eval_dataset_path,
            named=tuple(field for field, name in columns.items() if config.given(name)),
            max_samples=config.max_samples,
            most_rows=config.check_rows if only_checked else None,
            seed=config.seed,
            cache_dir=config.cache_dir,
            offline=config.offline,
            token=self.models.token,
            trainer=config.trainer,
            context_columns=tuple(config.context_columns),
            ignored_columns=tuple(config.ignore_columns),
            keeps_columns=config.applies("rl_reward_fn") and bool(config.rl_reward_fn),
            **{field: getattr(config, name) for field, name in columns.items()},
        )

    # --- tokens -----------------------------------------------------------------------------------------------------

    @cached_property
    def preparation(self) -> Preparation:
        """How rows become tokens."""
        from autotrain_llm.data.tokenize.settings import Preparation

        config, limit = self.config, self.models.limit
        scored = config.trainer_spec.rows == "scored"
        return Preparation(
            max_length=limit.tokens,
            length_given=limit.given,
            length_flag=flag_of(limit.parameter),
            context=None if config.model_max_length else self.models.context_length,
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
        """Whether prompts are left out of the loss: never for documents; None for the default of the format."""
        if self.config.trainer_spec.rows == "documents":
            return False
        return self.config[Sft].response_only_loss if self.config.applies("response_only_loss") else None

    @cached_property
    def prepared(self) -> Prepared | None:
        """The rows as tokens; training uses the same object, so that it trains on exactly what was checked."""
        from autotrain_llm.data.tokenize.prepare import prepare

        dataset, tokenizer = self.dataset, self.models.tokenizer
        if dataset is None or tokenizer is None:
            return None
        prepared = attempt(
            lambda: prepare(dataset, tokenizer, self.preparation, self.cache, self.progress, lambda: self.row_checks),
            self.findings,
        )
        if prepared is not None:
            self.findings += prepared.findings
        return prepared

    @cached_property
    def teacher_rows(self) -> TeacherRows | None:
        """The prepared rows as the teacher sees them; None if both see the same."""
        from dataclasses import replace

        from autotrain_llm.data.prompt_template import with_prompts
        from autotrain_llm.data.tokenize.prepare import prepare
        from autotrain_llm.data.tokenize.teacher_rows import align

        prepared, rows, tokenizer = self.prepared, self.as_written, self.models.tokenizer
        student, template = self._prompt_templates
        if template is None or template == student or prepared is None or rows is None or tokenizer is None:
            return None
        teacher = self.models.teacher
        # The student's rows are already truncated: the teacher sees the same answers, limited by its context alone.
        untruncated = replace(
            self.preparation,
            max_length=(teacher.context_length if teacher else None) or UNLIMITED,
            max_prompt_length=None,
            max_completion_length=None,
            length_given=False,
            sides_given=(),
            packing=False,
        )
        teacher_dataset = with_prompts(rows, template)
        teacher_rows = attempt(
            lambda: prepare(teacher_dataset, tokenizer, untruncated, self.cache, self.progress), self.findings
        )
        return None if teacher_rows is None else align(prepared, teacher_rows, rows.train, rows.valid)

    @property
    def cache(self) -> Path | None:
        """The folder that keeps prepared rows between runs; None for a dry run, which leaves nothing behind."""
        if self.config.dry_run:
            return None
        folder = self.config.cache_dir or self.machine.environment.get("XDG_CACHE_HOME") or "~/.cache"
        return Path(folder).expanduser() / "autotrain-llm" / "rows"
