"""The shape of the code: who may import whom, what is loaded where, who may print. Each failure says what to do instead."""

from __future__ import annotations

import ast
import builtins
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import autotrain_llm
from autotrain_llm.config.registry import PARAMS, TRAINERS

ROOT = Path(autotrain_llm.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py"))

REPOSITORY = Path(__file__).parents[2]
AT_THE_TOP = {
    ".ci",
    ".dockerignore",
    ".github",
    ".gitignore",
    ".pre-commit-hooks.yaml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
}
AT_THE_TOP |= {"Dockerfile", "Dockerfile.cuda", "LICENSE", "MANIFEST.in", "Makefile", "PARAMETER_GUIDE.md", "README.md"}
AT_THE_TOP |= {
    "benchmarks",
    "constraints.txt",
    "docs",
    "examples",
    "mkdocs.yml",
    "pyproject.toml",
    "setup.cfg",
    "setup.py",
}
AT_THE_TOP |= {"src", "tests"}

# From the ground up: a module may import what stands on an earlier line or in its own part.
ORDER = (
    {"version", "progress"},
    {"declare"},
    {"params", "metrics"},
    {"trainers"},
    {"config"},
    {"data", "models"},
    {"context"},
    {"planning"},
    {"checks"},
    {"run"},
    {"api"},
    {"app"},
    {"cli", "docs"},
    {"notebook"},
    {"__init__", "__main__"},
)
LEVEL = {part: level for level, parts in enumerate(ORDER) for part in parts}

HEAVY = {
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "optuna",
    "sqlalchemy",
    "accelerate",
    "pydantic",
    "safetensors",
    "gguf",
    "bitsandbytes",
}
HEAVY |= {"evaluate", "sacrebleu", "rouge_score", "lm_eval", "vllm", "grpc", "schedulefree", "pytorch_optimizer"}
# Loaded outside run/ only when a function needs them.
LIGHT = {
    "numpy",
    "datasketch",
    "tokenizers",
    "charset_normalizer",
    "jinja2",
    "yaml",
    "pyarrow",
    "rich",
    "huggingface_hub",
    "markupsafe",
}
# What serves the pages of the app, which is loaded by its command alone.
OF_THE_APP = {"starlette", "uvicorn", "jinja2", "markupsafe"}
# What builds the documentation site: `docs/site.py` is a hook of it.
OF_THE_SITE = {"mkdocs"}
# Where a library of HEAVY is loaded outside run/ after all, by name, when nothing lighter would do.
LOADED_BY_NAME = {
    "context/library_metrics.py": {"evaluate"},
    "data/files/hub.py": {"datasets"},
    "data/tokenizer/tokenizer.py": {"transformers"},
}


class Import(NamedTuple):
    """One imported module: where, what, which names of it, inside which function, for type checkers only."""

    file: str
    line: int
    module: str
    names: tuple[str, ...]
    function: str | None
    typing: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """A module as its syntax tree, which every test reads and none changes."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    """All nodes of a module."""
    return list(ast.walk(tree_of(path)))


def imports_of(path: Path) -> Iterator[Import]:
    """Every import of a file, wherever it stands in it."""
    yield from _imports(tree_of(path), path.relative_to(ROOT).as_posix(), None, False)


def _imports(node: ast.AST, file: str, function: str | None, typing: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(file, child.lineno, alias.name, (), function, typing)
        elif isinstance(child, ast.ImportFrom):
            names = tuple(alias.name for alias in child.names)
            assert child.level == 0, f"{file}:{child.lineno}: write the whole name of the module"
            yield Import(file, child.lineno, child.module or "", names, function, typing)
        elif isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            for part in child.body:
                yield from _imports(ast.Module([part], []), file, function, True)
            for part in child.orelse:
                yield from _imports(ast.Module([part], []), file, function, typing)
        else:
            inside = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
            yield from _imports(child, file, inside, typing)


@functools.cache
def every_import() -> list[Import]:
    """Those of all files, which take seconds to read: when they are first needed, and not when tests are collected."""
    return [found for path in FILES for found in imports_of(path)]


def part_of(file: str) -> str:
    """The part of the package that a file belongs to: `checks/rules/flags.py` is of `rules`, `plan.py` of `plan`."""
    return file.split("/")[0].removesuffix(".py")


def own_parts(found: Import) -> set[str]:
    """The parts of this package that an import reaches."""
    if found.module == "autotrain_llm":
        return {name for name in found.names if name in LEVEL}
    return {found.module.split(".")[1]} if found.module.startswith("autotrain_llm.") else set()


def library(found: Import) -> str:
    return found.module.split(".")[0]


def test_the_scan_sees_the_imports_it_is_about():
    assert len(FILES) > 80 and len(every_import()) > 500
    assert any(library(found) == "torch" for found in every_import())
    assert any(found.typing for found in every_import()) and any(found.function for found in every_import())


def test_every_part_has_its_place_in_the_order():
    assert {part_of(path.relative_to(ROOT).as_posix()) for path in FILES} == set(LEVEL)


def test_imports_go_one_way():
    wrong = [
        f"{found}, which stands above {part_of(found.file)}"
        for found in every_import()
        for part in own_parts(found)
        if not found.typing and part != part_of(found.file) and LEVEL[part] >= LEVEL[part_of(found.file)]
    ]
    # The package's own `__init__` hands out the three functions of api, and `run` is entered from api and cli alone.
    assert [line for line in wrong if not line.startswith("__init__.py")] == []


def test_a_run_knows_its_plan_and_its_inputs_and_not_the_context_they_were_made_in():
    """Only what makes plans of its own, a sweep of its trials, and inference, which has none, look further."""
    wrong = [
        str(found)
        for found in every_import()
        if part_of(found.file) == "run"
        and not found.file.startswith(("run/sweep/", "run/generation/"))
        and found.module in ("autotrain_llm.context.run_context", "autotrain_llm.checks.preflight")
    ]
    assert wrong == [], "take a Plan and its RunInputs"


def test_run_is_entered_inside_functions_only():
    wrong = [
        str(found)
        for found in every_import()
        if "run" in own_parts(found) and part_of(found.file) != "run" and not (found.function or found.typing)
    ]
    assert wrong == [], "load run/ in the function that starts a run"


def test_the_app_is_entered_inside_functions_only():
    wrong = [
        str(found)
        for found in every_import()
        if "app" in own_parts(found) and part_of(found.file) != "app" and not (found.function or found.typing)
    ]
    assert wrong == [], "its packages are an extra: load app/ in the function that serves it"


def test_heavy_libraries_are_imported_in_run_alone():
    wrong = [str(found) for found in every_import() if library(found) in HEAVY and part_of(found.file) != "run"]
    assert wrong == [], "everything up to the plan works on files; what needs the library belongs in run/"


def test_a_heavy_library_is_loaded_by_name_only_where_it_is_said_here():
    loaded = {}
    for path in FILES:
        file = path.relative_to(ROOT).as_posix()
        names = {
            str(call.args[0].value).split(".")[0]
            for _, name, call in calls(path)
            if name.endswith("import_module") and call.args and isinstance(call.args[0], ast.Constant)
        }
        if part_of(file) != "run" and names & HEAVY:
            loaded[file] = names & HEAVY
    assert loaded == LOADED_BY_NAME


def test_other_libraries_are_loaded_where_they_are_needed():
    wrong = [
        str(found)
        for found in every_import()
        if library(found) in LIGHT | OF_THE_APP
        and part_of(found.file) != "run"
        and not (part_of(found.file) == "app" and library(found) in OF_THE_APP)
        and not (found.function or found.typing)
    ]
    assert wrong == [], "import it inside the function: `--help` and a refused command must stay quick"


def test_no_library_is_imported_that_is_not_named_here():
    known = HEAVY | LIGHT | OF_THE_APP | OF_THE_SITE | set(sys.stdlib_module_names) | {"autotrain_llm", ""}
    assert sorted({library(found) for found in every_import()} - known) == []


def test_no_private_name_of_another_package_and_nothing_experimental_is_imported():
    wrong = [
        str(found)
        for found in every_import()
        if library(found) not in ("autotrain_llm", "__future__")
        and any(name.startswith("_") for name in (*found.module.split("."), *found.names))
    ]
    assert wrong == [], "only a public name is still there in the next version"
    assert [str(found) for found in every_import() if found.module.startswith("trl.experimental")] == []


def test_no_private_name_is_imported_from_another_part():
    wrong = [
        str(found)
        for found in every_import()
        if library(found) == "autotrain_llm" and any(name.startswith("_") for name in found.names)
    ]
    assert wrong == [], "give it a name without an underscore, or keep it to its own module"


# ---- what no module does


@functools.cache
def calls(path: Path) -> list[tuple[int, str, ast.Call]]:
    return [(node.lineno, ast.unparse(node.func), node) for node in nodes_of(path) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_keeps_to_the_house_rules(path):
    file = path.relative_to(ROOT).as_posix()
    wrong = []
    for line, name, call in calls(path):
        if name in ("eval", "exec", "compile", "__import__") or name.startswith(("pickle.", "marshal.", "shelve.")):
            wrong.append(f"{file}:{line} {name}: run no text as code")
        if name == "print" and part_of(file) != "cli":
            wrong.append(f"{file}:{line} print: say it with a Finding or through Watch")
        ends_a_child = name == "os._exit" and file == "declare/bounded.py"
        if name in ("exit", "quit", "sys.exit", "os._exit") and not (file.endswith("__main__.py") or ends_a_child):
            wrong.append(f"{file}:{line} {name}: return a status, or raise")
        if (
            name == "getattr"
            and len(call.args) == 3
            and "config" in ast.unparse(call.args[0])
            and part_of(file) != "run"
        ):
            wrong.append(f"{file}:{line} getattr with a default: a misspelt parameter would go unnoticed")
        if name.endswith("torch.load"):
            wrong.append(f"{file}:{line} torch.load: weights are safetensors")
    assert wrong == []


def test_every_folder_with_code_is_a_package_and_so_in_the_wheel():
    folders = {path.parent for path in FILES}
    assert [folder.relative_to(ROOT).as_posix() for folder in folders if not (folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_says_what_it_is_for(path):
    tree = tree_of(path)
    assert not tree.body or ast.get_docstring(tree), "begin with a sentence that says what the module is for"


def test_docstrings_name_files_and_exceptions_that_exist():
    names, wrong = set(vars(builtins)), []
    for path in FILES:
        names |= {node.id for node in nodes_of(path) if isinstance(node, ast.Name)}
        names |= {node.name for node in nodes_of(path) if isinstance(node, ast.ClassDef)}
    files = {path.name for path in FILES}
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    for path in FILES:
        for node in nodes_of(path):
            text = ast.get_docstring(node) or "" if isinstance(node, documented) else ""
            raised = [name for name in re.findall(r"\b[Rr]aises `?([A-Z]\w+)", text) if name not in names]
            named = [name for name in re.findall(r"`(?:[\w/]+/)?(\w+\.py)`", text) if name not in files]
            wrong += [f"{path.relative_to(ROOT)}: {name}" for name in raised + named]
    assert wrong == []


def test_no_module_is_called_after_nothing_in_particular():
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "base", "core"}
    assert [path.name for path in FILES if path.stem in vague] == []


def test_nothing_is_caught_without_a_name():
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in FILES
        for node in nodes_of(path)
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert wrong == []


def test_a_parameter_is_named_in_a_string_only_to_ask_where_it_comes_from():
    """`config.given("lr")` may name a parameter, one that exists; its value is read as an attribute, which the type checker sees."""
    wrong = []
    for path in FILES:
        for line, name, call in calls(path):
            method = name.rpartition(".")[2]
            literal = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
            if method == "value_of" and literal is not None:
                wrong.append(f"{path.relative_to(ROOT)}:{line} {name}({literal!r}): read the attribute")
            if method in ("given", "applies", "source") and "config" in name and literal not in (None, *PARAMS):
                wrong.append(f"{path.relative_to(ROOT)}:{line} {name}({literal!r}): there is no such parameter")
    assert wrong == []


def test_the_rules_are_loaded_without_what_reads_models_and_rows() -> None:
    script = "import sys, autotrain_llm.checks.rules.every as e; print([m for m in sys.modules if m.startswith(('autotrain_llm.models', 'autotrain_llm.data'))])"
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
        == "[]"
    )


def test_no_code_of_a_finding_is_compared_with_a_literal():
    """What a kind of finding means for what comes after it is an attribute of its rule."""
    code = re.compile(r"[PEMDR]\d{3}")
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in FILES
        for node in nodes_of(path)
        if isinstance(node, ast.Compare)
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and code.fullmatch(part.value)
    ]
    assert wrong == [], "ask the finding's rule: `rule_of(finding).blocks`, see declare/rule.py"


# ---- algorithms

RECIPES = "autotrain_llm.run.algorithms"


def algorithm_of(module: str) -> str | None:
    """The algorithm that a module belongs to: `preference` for `autotrain_llm.run.algorithms.preference.losses`."""
    return module.split(".")[3] if module.startswith(RECIPES + ".") else None


def test_session_engine_and_artifacts_know_the_recipe_and_no_algorithm():
    blind = ("run/session/", "run/engine/", "run/artifacts/", "run/evaluation/")
    wrong = [
        str(found)
        for found in every_import()
        if found.file.startswith(blind) and algorithm_of(found.module) not in (None, "recipe")
    ]
    assert wrong == [], "what an algorithm needs goes through a method of run/algorithms/recipe.py"


def test_no_algorithm_imports_another():
    wrong = [
        str(found)
        for found in every_import()
        if found.file.startswith("run/algorithms/")
        and algorithm_of(found.module) not in (None, "recipe", found.file.split("/")[2].removesuffix(".py"))
    ]
    assert wrong == [], "what two algorithms share belongs in run/engine"


def test_the_engine_makes_no_use_of_what_stands_on_it():
    above = ("session", "artifacts", "evaluation", "sweep", "report", "algorithms", "trl_engine", "generation")
    wrong = [
        str(found)
        for found in every_import()
        if found.file.startswith("run/engine/")
        and any(found.module.startswith(f"autotrain_llm.run.{room}") for room in above)
    ]
    assert wrong == []


# ---- circles


def modules_that_import_each_other() -> list[set[str]]:
    """Groups of modules of which each reaches every other by imports, those for type checkers left out."""
    modules = {
        "autotrain_llm." + path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path for path in FILES
    }
    edges: dict[str, set[str]] = {name: set() for name in modules}
    by_file = {path.relative_to(ROOT).as_posix(): name for name, path in modules.items()}
    for found in every_import():
        if not found.typing:
            targets = {found.module, *(f"{found.module}.{name}" for name in found.names)}
            edges[by_file[found.file]] |= targets & set(modules)

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(edges[start])
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += edges[name]
        return seen

    reach = {name: reachable(name) for name in modules}
    return [
        {name, *(other for other in reach[name] if name in reach[other])} for name in modules if name in reach[name]
    ]


def test_no_modules_import_each_other_in_a_circle():
    assert modules_that_import_each_other() == [], "move what both need to a module below them"


def test_no_code_asks_which_trainer_it_is():
    """A trainer that is added would be forgotten there: its declaration has an attribute for what is asked."""
    wrong = []
    for path in FILES:
        file = path.relative_to(ROOT).as_posix()
        if file.startswith(("trainers/", "run/algorithms/", "run/trl_engine/")):
            continue
        for node in nodes_of(path):
            if isinstance(node, ast.Compare):
                names = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}
                if names & set(TRAINERS) and "trainer" in ast.unparse(node):
                    wrong.append(f"{file}:{node.lineno} {ast.unparse(node)}")
    assert wrong == [], "ask an attribute of declare/trainer.py"


# ---- words


# Names that said nothing, or said it in words that no paper and no library of the field uses. What replaced them is beside it.
OLD_NAMES = {
    "World": "RunContext",
    "Said": "ParsedArguments",
    "Watch": "ProgressCallback",
    "Piece": "RenderedRow",
    "Twins": "DuplicatePairs",
    "Companion": "BatchAugmenter",
    "Family": "PromptGroup",
    "Rates": "Throughput",
    "Heard": "TeacherHidden",
    "Likeliest": "TopKLogprobs",
    "Lesson": "DistillTarget",
    "Judge": "Reward",
    "Writers": "RolloutWorker",
    "Phase": "RolloutBatch",
    "Slot": "MicroBatch",
    **dict.fromkeys(("said", "say", "held", "asked", "heard", "learnt", "seam"), "what it is"),
    **dict.fromkeys(("lesson", "companion", "family", "judge", "twins", "meanwhile", "world"), "the field's word"),
}
OLD_WORDS = ("nought", "learnt", "foretell", "foretold", "price of divergence", "draws a finding", "stands with ")


def names_in(path: Path) -> Iterator[tuple[int, str]]:
    """Every name that a module gives: variables, arguments, attributes of self, functions and classes."""
    for node in nodes_of(path):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_uses_the_words_of_the_field(path):
    text = path.read_text(encoding="utf-8")
    wrong = [
        f"line {line}: {name}, write {OLD_NAMES[name.strip('_')]}"
        for line, name in names_in(path)
        if name.strip("_") in OLD_NAMES
    ]
    wrong += [
        f"line {index}: {word!r}"
        for index, line in enumerate(text.splitlines(), 1)
        for word in OLD_WORDS
        if word in line
    ]
    assert wrong == []


def test_the_top_of_the_repository_holds_nothing_that_was_left_there():
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("this is no checkout")
    at_the_top = {name.split("/")[0] for name in tracked.stdout.splitlines()}
    assert at_the_top <= AT_THE_TOP, f"move these, or name them in AT_THE_TOP: {sorted(at_the_top - AT_THE_TOP)}"


def test_the_way_of_a_row_names_modules_that_exist():
    story = ast.get_docstring(ast.parse((ROOT / "data" / "__init__.py").read_text(encoding="utf-8"))) or ""
    modules = re.findall(r"`(\w+(?:/\w+)?/?)`", story)
    assert len(modules) > 20
    missing = [name for name in modules if name[0].islower() and not _is_there(ROOT / "data" / name)]
    assert missing == [], "the docstring of data/ names modules that are gone: say what does their step now"


def _is_there(path: Path) -> bool:
    return path.is_dir() or path.with_suffix(".py").is_file()
