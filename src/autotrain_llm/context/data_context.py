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
from autotrain_llm.trainers.reward import Reward
from autotrain_llm.trainers.sft import Sft

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from autotrain_llm.data.dataset import Dataset, Progress
    from autotrain_llm.data.mixture.config import MixtureConfig
    from autotrain_llm.data.mixture.mixture import Mixture
    from autotrain_llm.data.prepared.info import PreparedFolder
    from autotrain_llm.data.quality.cross_row_checks import RowChecks
    from autotrain_llm.data.request import DataRequest
    from autotrain_llm.data.tokenize.pipeline import IdleWork
    from autotrain_llm.data.tokenize.prepare import Prepared
    from autotrain_llm.data.tokenize.settings import Preparation
    from autotrain_llm.data.tokenize.teacher_rows import TeacherRows
    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

UNLIMITED = 1 << 30  # tokens
STREAM_ROWS = 1000  # of a stream that are checked before the training
# Fields of DataRequest that name a column, and the parameters that set them.
COLUMNS = {
    "reasoning_column": "reasoning_column",
    "text_column": "text_column",
    "prompt_column": "prompt_text_column",
    "rejected_column": "rejected_text_column",
}


def _templated(rows: Dataset, template: str) -> Dataset:
    """The rows with their prompts in a template; those of a mixture source by source."""
    from autotrain_llm.data.mixture.dataset import MixedDataset
    from autotrain_llm.data.prompt_template import with_prompts

    if isinstance(rows, MixedDataset):
        return rows.map(lambda source: with_prompts(source, template))
    return with_prompts(rows, template)


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
        same_rows = self.request == earlier.request and self._mixture_text == earlier._mixture_text
        return was_read and same_rows and self._prompt_templates == earlier._prompt_templates

    def reuse_from(self, earlier: DataContext) -> None:
        """Take over the rows that are the same: the tokens if the tokenizer was taken over and the preparation is equal, the teacher's rows
        if the teacher is the same too."""
        if not self.has_rows_of(earlier):
            return
        names = ["as_written", "row_checks", "dataset", "mixture"]
        if "tokenizer" in vars(self.models) and "prepared" in vars(earlier) and self.preparation == earlier.preparation:
            names.append("prepared")
            if self.config.teacher_model == earlier.config.teacher_model:
                names.append("teacher_rows")
        vars(self).update({name: vars(earlier)[name] for name in names if name in vars(earlier)})

    # --- rows -------------------------------------------------------------------------------------------------------

    @cached_property
    def dataset(self) -> Dataset | None:
        """The rows with their prompts as the student sees them."""
        rows, template = self.as_written, self._prompt_templates[0]
        return rows if rows is None or template is None else _templated(rows, template)

    @cached_property
    def mixture(self) -> MixtureConfig | None:
        """The description of a mixture, from the file of `--data-config`; None without one, or if it can't be used."""
        from autotrain_llm.data.mixture.read import read_mixture

        path, rows = self.config.data_config, self.config.trainer_spec.rows
        read = None if path is None else attempt(lambda: read_mixture(path, rows), self.findings)
        if read is None:
            return None
        mixture, findings = read
        self.findings += findings
        return mixture

    @cached_property
    def _mixture_text(self) -> str | None:
        """The text of the mixture's file."""
        path = self.config.data_config
        try:
            return None if path is None else Path(path).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    @cached_property
    def as_written(self) -> Dataset | None:
        """The rows: located, read, their format detected, converted."""
        from autotrain_llm.data.load.open import open_data
        from autotrain_llm.data.mixture.open import open_mixture

        mixture = self.mixture
        if mixture is None and self.config.data_config is not None:
            return None
        dataset: Dataset | None = attempt(
            lambda: (
                open_data(self.request, self.progress)
                if mixture is None
                else open_mixture(mixture, self.request, self.progress)
            ),
            self.findings,
        )
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
    def request(self) -> DataRequest:
        """Which rows are read."""
        from autotrain_llm.data.request import DataRequest

        config = self.config
        # The default names are those of pairs.
        by_default, named_in_file = config.trainer_spec.rows != "graded", config.data_config is not None
        columns = {
            field: name
            for field, name in COLUMNS.items()
            if config.applies(name) and not named_in_file and (by_default or config.given(name))
        }
        only_checked = not config.streams and (bool(config.dry_run) or config.preview_data is not None)
        first_rows = (config.check_rows or STREAM_ROWS) if config.streams else None
        return DataRequest(
            path=config.rows_from or "",
            rows=config.trainer_spec.rows,
            train_split=config.train_split,
            valid_split=config.valid_split,
            eval_path=config.eval_dataset_path,
            named=tuple(field for field, name in columns.items() if config.given(name)),
            max_samples=min((most for most in (config.max_samples, first_rows) if most is not None), default=None),
            streaming=config.streams,
            most_rows=config.check_rows if only_checked else None,
            seed=config.seed,
            cache_dir=config.cache_dir,
            offline=config.offline,
            token=self.models.token,
            trainer=config.trainer,
            context_columns=tuple(config.context_columns),
            ignored_columns=tuple(config.ignore_columns),
            num_labels=config[Reward].num_labels if config.applies("num_labels") else 1,
            keeps_columns=config.applies("rl_reward_fn") and bool(config.rl_reward_fn),
            **{field: getattr(config, name) for field, name in columns.items()},
        )

    # --- tokens -----------------------------------------------------------------------------------------------------

    @cached_property
    def preparation(self) -> Preparation:
        """How rows become tokens."""
        from autotrain_llm.data.tokenize.settings import Preparation

        config, limit = self.config, self.models.limit
        scored = config.trainer_spec.trains_a_scorer
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
        dataset, tokenizer = self.dataset, self.models.tokenizer
        if dataset is None or tokenizer is None:
            return None
        prepared = attempt(
            lambda: self._prepare(dataset, tokenizer, self.preparation, lambda: self.row_checks, self.stored),
            self.findings,
        )
        if prepared is not None:
            self.findings += prepared.findings
        return prepared

    def map_prepared(
        self, fingerprint: str, *, is_rendered: bool, mixture: Mixture | None = None, sizes: Sequence[Any] = ()
    ) -> None:
        """Take the rows that another process of this command has prepared, without reading their files; where they aren't in the cache, they are
        prepared when they are needed. Of a mixture, `sizes` are how many rows were read of each source, for training and evaluation."""
        from autotrain_llm.data.mixture.prepare import map_mixture
        from autotrain_llm.data.tokenize.prepare import map_prepared

        folders = [folder for folder in (self.stored, self.cache) if folder is not None]
        tokenizer, template = self.models.tokenizer, self.preparation.chat_template
        if tokenizer is None:
            return
        if mixture is None:
            prepared = map_prepared(fingerprint, folders, tokenizer, template, is_rendered=is_rendered)
        else:
            prepared = map_mixture(mixture, sizes, folders, tokenizer, template, is_rendered=is_rendered)
        if prepared is not None:
            vars(self)["prepared"] = prepared

    def _prepare(
        self,
        dataset: Dataset,
        tokenizer: Tokenizer,
        preparation: Preparation,
        idle_work: IdleWork | None = None,
        stored: Path | None = None,
    ) -> Prepared:
        """Rows as tokens; those of a mixture source by source. `stored` is a folder that may have them."""
        from autotrain_llm.data.bounded_caches import tidy
        from autotrain_llm.data.mixture.dataset import MixedDataset
        from autotrain_llm.data.mixture.prepare import prepare_mixture
        from autotrain_llm.data.tokenize.prepare import prepare

        cache, progress = self.cache, self.progress
        if isinstance(dataset, MixedDataset):
            prepared = prepare_mixture(dataset, tokenizer, preparation, self.config.seed, cache, progress, idle_work)
        else:
            prepared = prepare(dataset, tokenizer, preparation, cache, progress, idle_work, stored)
        if cache is not None and not prepared.from_cache:
            tidy(cache.parent)
        return prepared

    @cached_property
    def teacher_rows(self) -> TeacherRows | None:
        """The prepared rows as the teacher sees them; None if both see the same."""
        from dataclasses import replace

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
        teacher_dataset = _templated(rows, template)
        teacher_rows = attempt(lambda: self._prepare(teacher_dataset, tokenizer, untruncated), self.findings)
        return None if teacher_rows is None else align(prepared, teacher_rows, rows.train, rows.valid)

    @cached_property
    def prepared_folder(self) -> PreparedFolder | None:
        """The folder that `autotrain prepare` wrote, if the rows are read from one."""
        from autotrain_llm.data.prepared.info import prepared_folder

        return prepared_folder(self.config.data_path)

    @property
    def stored(self) -> Path | None:
        """The rows of a prepared folder as tokens."""
        return None if self.prepared_folder is None else self.prepared_folder.tokens

    @property
    def cache(self) -> Path | None:
        """The folder that keeps prepared rows between commands; None where only the first rows were read, which no run trains on."""
        if self.is_partial:
            return None
        folder = self.config.cache_dir or self.machine.environment.get("XDG_CACHE_HOME") or "~/.cache"
        return Path(folder).expanduser() / "autotrain-llm" / "rows"
