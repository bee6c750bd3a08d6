"""The inputs of a run: prepared rows, the dataset, the tokenizer and the files of models. All of them follow from the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.layers import Layer, Origin
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import GIVEN, Config, resolve_layers
from autotrain_llm.context.evaluation_rows import with_evaluation_rows
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.data.mixture.dataset import MixedDataset
from autotrain_llm.data.mixture.mixture import MixedSource, Mixture
from autotrain_llm.data.mixture.prepare import sizes_of
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.rollouts import reward_models

if TYPE_CHECKING:
    from autotrain_llm.data.dataset import Dataset, Progress
    from autotrain_llm.data.request import DataRequest
    from autotrain_llm.data.tokenize.prepare import Prepared
    from autotrain_llm.data.tokenize.settings import Preparation
    from autotrain_llm.data.tokenize.teacher_rows import TeacherRows
    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
    from autotrain_llm.models.metadata import ModelMetadata


@dataclass(frozen=True)
class StreamInputs:
    """How the rows are read, and become tokens, that are streamed."""

    request: DataRequest
    preparation: Preparation


@dataclass(frozen=True)
class RunInputs:
    """The rows and files of one run.

    `prepared` are the rows as tokens and `dataset` the rows as read, in the same order; where others have prepared them they are only read when they are
    asked for. Of the evaluation rows `prepared` has those that the
    plan evaluates. `teacher_rows` are the teacher's rows if its prompts
    differ. `model` is None for a new model, and `reward_models` has the plan's sources as keys. `cache` is the folder of prepared rows; other
    caches are next to it. `findings` are those of the checks before the run, for run.json. `stream` is None unless the rows are streamed.
    """

    prepared: Prepared
    read_dataset: Callable[[], Dataset] = field(repr=False)
    tokenizer: Tokenizer
    tokenizer_folder: Path
    model: ModelMetadata | None
    reference: ModelMetadata | None
    teacher: ModelMetadata | None
    reward_models: Mapping[str, ModelMetadata]
    teacher_rows: TeacherRows | None
    cache: Path | None
    token: str | None = field(repr=False)
    is_first_process: bool
    verbose: bool
    findings: tuple[Finding, ...] = ()
    stream: StreamInputs | None = None
    temporary: Any = field(
        default=None, repr=False
    )  # keeps the folder of a new tokenizer: it is deleted with this object

    @property
    def dataset(self) -> Dataset:
        """The rows as read. Raises Refused if they can't be read."""
        return self.read_dataset()


def inputs_of(plan: Plan, context: RunContext, findings: tuple[Finding, ...] = ()) -> RunInputs:
    """The inputs of a plan that was made in this context."""
    prepared, tokenizer, folder = context.prepared, context.tokenizer, context.tokenizer_folder
    if prepared is None or tokenizer is None or folder is None:
        raise Refused(context.findings)

    def read_dataset() -> Dataset:
        if context.dataset is None:
            raise Refused(context.findings)
        return context.dataset

    evaluated, seed = plan.data.evaluated_rows, plan.seed
    teacher_rows = context.teacher_rows if plan.distillation and plan.distillation.is_used else None
    metadata = {name: context.models.secondary("rl_reward_model_path", name) for name in reward_models(context.config)}
    return RunInputs(
        prepared=prepared.evaluating(evaluated, seed),
        read_dataset=read_dataset,
        tokenizer=tokenizer,
        tokenizer_folder=folder,
        model=None if context.is_scratch else context.model,
        reference=context.reference,
        teacher=context.teacher,
        reward_models={name: model for name, model in metadata.items() if model is not None},
        teacher_rows=teacher_rows.evaluating(evaluated, seed) if teacher_rows else None,
        cache=context.cache,
        token=context.token,
        is_first_process=context.machine.is_first_process,
        verbose=bool(context.config.verbose),
        findings=findings,
        stream=StreamInputs(context.data.request, context.data.preparation) if plan.data.streaming else None,
        temporary=context,
    )


@dataclass(frozen=True)
class PreparedElsewhere:
    """What the process that made a plan has prepared for others: the folder of a tokenizer that it has trained, whether its rows are rendered by a
    chat template, and of a mixture its sources, with how many rows were read of each for training and evaluation."""

    tokenizer: str | None
    is_rendered: bool
    mixture: Mixture | None = None
    sizes: tuple[tuple[int, int], ...] = ()

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> PreparedElsewhere:
        """What `dataclasses.asdict` has written."""
        mixture = document["mixture"]
        if mixture is not None:
            sources = tuple(MixedSource(**source) for source in mixture["sources"])
            mixture = Mixture(sources, mixture["weights_by"], mixture["seed"])
        sizes = tuple((trained, evaluated) for trained, evaluated in document["sizes"])
        return cls(document["tokenizer"], document["is_rendered"], mixture, sizes)


def prepared_here(context: RunContext) -> PreparedElsewhere:
    """What this process has prepared, for those that it starts."""
    is_trained = context.is_scratch and not context.config.tokenizer
    folder = str(context.tokenizer_folder) if is_trained and context.tokenizer_folder else None
    prepared, dataset = context.prepared, context.dataset
    is_rendered = prepared is not None and prepared.template is not None
    if prepared is None or prepared.mixture is None or not isinstance(dataset, MixedDataset):
        return PreparedElsewhere(folder, is_rendered)
    return PreparedElsewhere(folder, is_rendered, prepared.mixture, tuple(sizes_of(dataset)))


def context_of(plan: Plan, progress: Progress | None = None, elsewhere: PreparedElsewhere | None = None) -> RunContext:
    """The context of a saved plan: its rows are read and prepared again, or taken from the cache, and its models looked up. With `elsewhere` they were
    prepared by another process, and are mapped.

    Raises Refused if that fails, or the rows are not those that the plan was made of. Secrets come from the environment.
    """
    context = RunContext(with_evaluation_rows(config_of(plan)), progress=progress)
    if elsewhere is not None:
        if elsewhere.tokenizer is not None:
            context.models.take_tokenizer(Path(elsewhere.tokenizer))
        context.data.map_prepared(
            plan.data.fingerprint,
            is_rendered=elsewhere.is_rendered,
            mixture=elsewhere.mixture,
            sizes=elsewhere.sizes,
        )
    if context.prepared is None:
        raise Refused(context.findings)
    if context.prepared.fingerprint != plan.data.fingerprint:
        message = f"{plan.data.path}: the rows, or their tokenization, have changed since the plan was made"
        raise Refused(
            [Finding(message, "make the plan again", (_rows_parameter(plan),), file=plan.data.path, code="P117")]
        )
    return context


def _rows_parameter(plan: Plan) -> str:
    return "data_path" if plan.data.sources is None else "data_config"


def config_of(plan: Plan) -> Config:
    """The configuration that a plan was made of: the given values, each with its source."""
    layers = {}
    for source in GIVEN:
        given = {
            name: cell for name, cell in plan.parameters.items() if cell.source == source and not PARAMS[name].secret
        }
        parsed = parse_kwargs({name: cell.value for name, cell in given.items()})
        if parsed.findings:
            raise Refused(parsed.findings)
        layers[source] = Layer(
            parsed.values, {name: Origin(cell.file, cell.written, cell.preset) for name, cell in given.items()}
        )
    return resolve_layers(layers)
