"""Where the study of a sweep is stored, what proposes its values, its processes, and continuing it."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.checks.rules.output import free_folder
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.config.search_space import names_the_study, proxy_address, study_name, without_password
from autotrain_llm.context.machine import Machine
from autotrain_llm.context.output_dir import SWEEP as SWEEP_FOLDER
from autotrain_llm.context.output_dir import Output, earlier_run, earlier_sweep
from autotrain_llm.context.study_file import JOURNAL, read_study_file
from autotrain_llm.declare.document import mapping
from autotrain_llm.declare.example import NEW, RUN, SFT, SWEEP, TWO_PROCESSES, Example, of_flags
from autotrain_llm.declare.finding import WARNING, Finding, typed
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import declare_finding, rule
from autotrain_llm.declare.text import as_list, plain, without_point

# The packages that connect to a database, and the extra that installs them, by the scheme of its address.
DRIVERS = {
    "postgresql": (("psycopg", "psycopg2"), "postgresql"),
    "postgres": (("psycopg", "psycopg2"), "postgresql"),
    "mysql": (("pymysql", "MySQLdb"), "mysql"),
    "sqlite": ((), ""),
    "grpc": (("grpc",), "grpc"),
}
NO_LOGIN = "WANDB_API_KEY= WANDB_IDENTITY_TOKEN_FILE= NETRC=nowhere "
BY_WANDB = f"{SFT}rows.jsonl {SWEEP}--sweep-backend wandb"
IN_MINE = f"{SFT}rows.jsonl {SWEEP}--output-dir runs/mine"
ONE_TRIAL = f"{NEW.replace('1m', '100k')} --max-seq-length 16 --use-sweep --sweep-n-trials 1 --valid-split 1"
STUDY = f"{ONE_TRIAL} --sweep-storage sqlite:///study.db --sweep-name ours --sweep-params '{{\"lr\": [1e-3, 1e-4]}}'"
OTHER_STUDY = STUDY.replace("[1e-3, 1e-4]", "[1e-3, 1e-5]")


@rule("P610", example=of_flags(SWEEP + "--sweep-storage redis://host", SWEEP + "--sweep-storage sqlite:///s.db"))
def a_study_is_stored_in_a_supported_database(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--sweep-storage` is not the address of a supported database or of Optuna's storage proxy, or the package that connects to it is missing.

    Why: the first trial could not be stored.
    Fix: an address such as `postgresql://user:password@host/database` or `grpc://host:13000`, or install the package that the finding names.
    """
    if not config.use_sweep or not config.sweep_storage:
        return
    address = str(config.sweep_storage)
    scheme, separator, rest = address.partition("://")
    kind, _, driver = scheme.partition("+")
    if kind not in DRIVERS or not separator:
        yield Finding(
            f"--sweep-storage must begin with postgresql://, mysql://, sqlite:/// or grpc://, got {without_password(address)}",
            fix="--sweep-storage postgresql://user:password@host/database",
            parameters=("sweep_storage",),
        )
        return
    if kind == "sqlite" and not rest.startswith("/"):
        yield Finding(
            f"--sweep-storage {address}: the address of an SQLite file has three slashes before a relative path and four before an absolute one",
            changes={"sweep_storage": f"sqlite:///{rest or 'study.db'}"},
            parameters=("sweep_storage",),
        )
    if kind == "grpc":
        yield from _not_a_proxy(address)
    packages, extra = DRIVERS[kind]
    if packages and not any(machine.has_package(name) for name in ((driver,) if driver else packages)):
        yield Finding(
            f"--sweep-storage {kind}:// needs the package {driver or packages[0]}, which is not installed",
            fix=f'pip install "autotrain-llm[{extra}]"',
            parameters=("sweep_storage",),
        )


def _not_a_proxy(address: str) -> Iterator[Finding]:
    try:
        proxy_address(address)
    except ValueError as problem:
        host = address.partition("://")[2].rpartition("@")[2].partition("/")[0].partition(":")[0]
        yield Finding(
            f"--sweep-storage {without_password(address)}: {problem}",
            guess={"sweep_storage": f"grpc://{host or 'localhost'}:13000"},
            parameters=("sweep_storage",),
        )


@rule(
    "P611",
    example=Example(
        NO_LOGIN + BY_WANDB,
        "WANDB_API_KEY=mine " + BY_WANDB,
        on="where wandb is installed",
        on_right="where wandb is installed",
    ),
)
def sweeps_of_wandb_need_a_login(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--sweep-backend wandb` without the package, or without a login.

    Why: Weights & Biases proposes the values of each trial from its server.
    Fix: install it and log in, or use the default backend, which needs neither.
    """
    if not config.use_sweep or config.sweep_backend != "wandb":
        return
    if not machine.has_package("wandb"):
        yield _no_wandb("needs the package wandb, which is not installed", 'or pip install "autotrain-llm[wandb]"')
    if not machine.has_wandb_login:
        yield _no_wandb("needs a login, and there is none in WANDB_API_KEY or in .netrc", "or wandb login")
    elif config.offline:
        yield _no_wandb("gets its values from a server, and --offline forbids it", "", "offline")


def _no_wandb(reason: str, otherwise: str, *parameters: str) -> Finding:
    return Finding(
        f"--sweep-backend wandb {reason}",
        changes={"sweep_backend": "optuna"},
        otherwise=otherwise,
        parameters=("sweep_backend", *parameters),
    )


@rule(
    "P612",
    WARNING,
    refuses="--use-sweep --sweep-backend wandb --sweep-pruner hyperband",
    accepts="--use-sweep --sweep-pruner hyperband",
)
def a_sweep_parameter_needs_a_backend_that_uses_it(config: Config) -> Iterator[Finding]:
    """A parameter of the sweep that its backend does not use.

    Why: with `--sweep-backend wandb` the server proposes values and stores the trials, so that storage, name and pruner have no effect;
    `--sweep-name` names a study in `--sweep-storage`.
    Fix: remove it.
    """
    if not config.use_sweep:
        return
    if config.sweep_backend == "wandb":
        names: tuple[str, ...] = ("sweep_pruner", "sweep_storage", "sweep_name")
        why = "with --sweep-backend wandb"
    else:
        names = () if config.sweep_storage else ("sweep_name",)
        why = "without --sweep-storage"
    for name in names:
        if config.given(name):
            yield Finding(f"{flag_of(name)} has no effect {why}", changes={name: None}, parameters=(name,))


@rule("P613", example=Example(TWO_PROCESSES + IN_MINE, IN_MINE))
def a_trial_is_one_process(config: Config, machine: Machine) -> Iterator[Finding]:
    """A sweep was started as several processes that train one model together.

    Why: each trial runs in one process. To use several GPUs, start the command several times, each with a GPU of its own: with `--resume` in the
    same folder, or with `--sweep-storage` anywhere.
    Fix: one process per command.
    """
    if config.use_sweep and machine.processes > 1:
        yield Finding(
            f"--use-sweep runs each trial in one process, and {machine.processes} processes were started together",
            fix="CUDA_VISIBLE_DEVICES=0 autotrain llm …, and the same command with --resume for each further GPU",
            parameters=("use_sweep",),
        )


@rule("P614", refuses="--use-sweep --resume-from-checkpoint DIR", accepts="--use-sweep --resume --output-dir DIR")
def a_sweep_is_resumed_as_a_whole(config: Config) -> Iterator[Finding]:
    """`--use-sweep` with `--resume-from-checkpoint`.

    Why: a checkpoint belongs to one run; a sweep continues its study.
    Fix: `--resume` and the sweep's folder.
    """
    if config.use_sweep and config.resume_from_checkpoint:
        yield Finding(
            "--resume-from-checkpoint continues one run, and --use-sweep a study of many",
            fix="--resume --output-dir <folder of the sweep>",
            parameters=("use_sweep", "resume_from_checkpoint"),
        )


@rule(
    "E407",
    example=of_flags(SWEEP + "--resume --output-dir runs/mine", SWEEP + "--output-dir runs/other", before=RUN),
)
def a_resumed_sweep_must_be_the_same_sweep(config: Config, output: Output) -> Iterator[Finding]:
    """There is no sweep to continue, or it was started with other values.

    Why: trials of another model, other rows or another search space can't be compared with these.
    Fix: the flags of the sweep that is resumed; its `command.sh` has them.
    """
    if not config.use_sweep or not config.resume:
        return
    earlier = earlier_sweep(output.folder)
    if earlier is None and output.begins and output.holds_run is None:
        return
    if earlier is None:
        yield Finding(
            f"--resume continues a sweep, and there is none in {output.folder}",
            changes={"resume": None, **({"output_dir": free_folder(output)} if output.holds_run else {})},
            otherwise="to start from the beginning",
            parameters=("resume", "output_dir"),
        )
    elif earlier != study_name(config):
        yield Finding(
            f"the sweep in {output.folder} was started with other values than these{_which(config, output)}",
            fix=f"the flags in {output.folder / 'command.sh'}, or another --output-dir",
            parameters=("resume", "output_dir"),
        )


def _which(config: Config, output: Output) -> str:
    """The parameters that the sweep in the folder has other values of, as far as its plan tells."""
    parameters = mapping(mapping(earlier_run(output.folder).get("plan")).get("parameters"))
    names = [name for name in parameters if name in PARAMS and names_the_study(PARAMS[name])]
    pairs = [
        (name, mapping(parameters[name]).get("value"), without_point(as_list(config.value_of(name)))) for name in names
    ]
    differing = [
        f"{typed(name, was)} (here {plain(now)})"
        for name, was, now in pairs
        if without_point(was) != now and not PARAMS[name].secret
    ]
    return f": {', '.join(differing)}" if differing else ""


@rule(
    "E421",
    WARNING,
    example=of_flags(
        SWEEP + "--resume --output-dir runs/mine",
        SWEEP + "--output-dir runs/other",
        before="""mkdir -p runs/mine/sweep
echo '{"op_code": 0, "work' > runs/mine/sweep/study.journal""",
    ),
)
def the_file_of_a_study_should_be_intact(config: Config, output: Output) -> Iterator[Finding]:
    """`sweep/study.journal`, the study of a sweep that is resumed, is cut, garbled or missing.

    Why: its trials are what the sweep goes on from. The sweep is restored from the intact lines and from `sweep/trials.json`, and the damaged file is kept;
    a trial of which neither has the result is carried out again, with the same values.
    Fix: nothing has to be done; look whether the disk is full or broken.
    """
    if not config.use_sweep or not config.resume or config.sweep_storage or config.sweep_backend != "optuna":
        return
    folder = output.folder / SWEEP_FOLDER
    damage = read_study_file(folder / JOURNAL).damage if folder.is_dir() else None
    if damage:
        message = f"{folder / JOURNAL} {damage}: the sweep is restored from its intact lines and from trials.json"
        yield Finding(message, fix="look whether the disk is full or broken (df -h, dmesg)", parameters=("resume",))


# Found when a sweep starts.

STUDY_OF_OTHER_VALUES = declare_finding(
    "E408",
    """`--sweep-name` names a study in the database of `--sweep-storage` that searches something else, or that another program made.

    Why: trials of different searches can't be compared.
    Fix: another name.
    """,
    example=Example(OTHER_STUDY, OTHER_STUDY.replace("ours", "another"), before=f"autotrain {STUDY}", runs=True),
)
NO_DATABASE = declare_finding(
    "E409",
    """The database of `--sweep-storage` can't be reached, or this user may not create tables in it.

    Why: trials are stored there.
    Fix: what the database's own message says.
    """,
    example=Example(
        f"{ONE_TRIAL} --sweep-storage sqlite:///nowhere/study.db",
        f"{ONE_TRIAL} --sweep-storage sqlite:///study.db",
        runs=True,
    ),
)
NO_EVALUATION = declare_finding(
    "E410",
    """The trials of a sweep would never evaluate: `--eval-steps` is more than their number of steps.

    Why: trials are compared by a metric of the evaluation rows.
    Fix: a smaller `--eval-steps`, or `--eval-strategy epoch`.
    """,
    example=Example(
        f"{ONE_TRIAL} --eval-strategy steps --eval-steps 500",
        f"{ONE_TRIAL} --eval-strategy steps --eval-steps 1",
        runs=True,
    ),
)
