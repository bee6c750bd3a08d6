"""Everything that one command looks up before it is planned: the machine, the output folder, the models and the rows.

Each is looked up on first use and only once. A value that can't be looked up is None, and the reasons are in `findings`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.config.resolved import Config
from autotrain_llm.config.sequence_length import Limit
from autotrain_llm.context.data_context import DataContext
from autotrain_llm.context.machine import Machine, Requested, machine_for
from autotrain_llm.context.model_context import ModelContext
from autotrain_llm.context.output_dir import Output, find_output
from autotrain_llm.declare.finding import Finding, Refused, refuses
from autotrain_llm.params.launching import AUTO

if TYPE_CHECKING:
    from autotrain_llm.data.dataset import Dataset, Progress
    from autotrain_llm.data.quality.cross_row_checks import RowChecks
    from autotrain_llm.data.tokenize.prepare import Prepared
    from autotrain_llm.data.tokenize.teacher_rows import TeacherRows
    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
    from autotrain_llm.models.metadata import ModelMetadata
    from autotrain_llm.models.planned import PlannedModels


def _requested(config: Config) -> Requested:
    """The processes that a command asks for. A sweep trains each trial in one, on one GPU."""
    alone = 1 if config.use_sweep and config.num_processes == AUTO else None
    given = config.num_processes if isinstance(config.num_processes, int) and config.num_processes > 0 else alone
    return Requested(given, config.num_nodes if config.num_nodes and config.num_nodes > 0 else None)


class RunContext:
    """The machine, the output folder, the `models` and the `data` of one command. The attributes that are read most often are repeated here."""

    def __init__(
        self,
        config: Config,
        machine: Machine | None = None,
        progress: Progress | None = None,
        planned: PlannedModels | None = None,
    ) -> None:
        self.config = config
        self.machine = machine or machine_for(
            config.target_memory, elsewhere=bool(config.dry_run), requested=_requested(config)
        )
        self.findings: list[Finding] = []
        token = config.token or self.machine.hub_token
        self.models = ModelContext(config, token, self.findings, self._texts, planned)
        self.data = DataContext(config, self.models, self.machine, self.findings, progress)

    def _texts(self) -> Iterator[str] | None:
        """The text that the tokenizer of a new model is trained on. Raises Refused if the rows have none."""
        from autotrain_llm.data.dataset import texts
        from autotrain_llm.data.observations import findings_of
        from autotrain_llm.data.rules.token_rows import a_new_tokenizer_needs_text

        if self.dataset is None:
            return None
        if next(texts(self.dataset), None) is None:
            facts = {"file": self.dataset.path, "model": str(self.config.model)}
            raise Refused(findings_of(a_new_tokenizer_needs_text, **facts))
        return texts(self.dataset)

    def reuse_from(self, earlier: RunContext) -> None:
        """Reuse what an earlier command of this process has looked up, where this one would look up the same. Findings are not copied: they
        were reported with the earlier command."""
        config, before = self.config, earlier.config
        if (config.target_memory, config.dry_run) == (before.target_memory, before.dry_run):
            self.machine = self.data.machine = earlier.machine
        self.models.reuse_from(earlier.models, same_rows=self.data.has_rows_of(earlier.data))
        self.data.reuse_from(earlier.data)

    @property
    def refused(self) -> bool:
        return refuses(self.findings)

    @cached_property
    def output(self) -> Output:
        return find_output(self.config, self.machine.cluster.was_restarted)

    @property
    def token(self) -> str | None:
        return self.models.token

    # --- the models -------------------------------------------------------------------------------------------------

    @property
    def model(self) -> ModelMetadata | None:
        return self.models.model

    @property
    def reference(self) -> ModelMetadata | None:
        return self.models.reference

    @property
    def teacher(self) -> ModelMetadata | None:
        return self.models.teacher

    @property
    def is_scratch(self) -> bool:
        return self.models.is_scratch

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self.models.tokenizer

    @property
    def tokenizer_folder(self) -> Path | None:
        return self.models.tokenizer_folder

    @property
    def context_length(self) -> int | None:
        return self.models.context_length

    @property
    def limit(self) -> Limit:
        return self.models.limit

    @property
    def shape(self) -> dict[str, Any] | None:
        return self.models.shape

    @property
    def parameters(self) -> int | None:
        return self.models.parameters

    # --- the rows ---------------------------------------------------------------------------------------------------

    @property
    def dataset(self) -> Dataset | None:
        return self.data.dataset

    @property
    def row_checks(self) -> RowChecks:
        return self.data.row_checks

    @property
    def prepared(self) -> Prepared | None:
        return self.data.prepared

    @property
    def teacher_rows(self) -> TeacherRows | None:
        return self.data.teacher_rows

    @property
    def cache(self) -> Path | None:
        return self.data.cache

    @property
    def distills(self) -> bool:
        return self.config.distills
