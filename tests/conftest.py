"""Small local models and rows that several test files share. Nothing is downloaded."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from autotrain_llm.declare.garbage import existing_objects_frozen
from support.light_models import build_light_model
from support.models import TEMPLATE, build_llama
from support.rows import COLOURS, questions, write_rows

# Tests run side by side on few cores: one thread each, and nothing that could reach a network.
for name, value in {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "NO_COLOR": "1",
    "CUDA_VISIBLE_DEVICES": "",
}.items():
    os.environ.setdefault(name, value)

# How long an example takes depends on what else the machine does.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

ROOT = Path(__file__).parent.parent
TESTS = count()
MODULES_OF_A_LIBRARY = 50
TRY_FIRST = ("chat.template", "tokenizer.tokenizer", "tokenize.prepare")  # modules that call `breach`
KEPT_BY_TOOLS = {"__pycache__", "build", "dist", "autotrain_llm.egg-info"}
pytest_plugins = ("support.config_reads",)


@pytest.fixture
def chat_rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "chat.jsonl", questions(48))


@pytest.fixture
def text_rows(tmp_path: Path) -> Path:
    texts = [
        f"Line {number}. The {COLOURS[number % 8]} one goes before the {COLOURS[number % 5]} one."
        for number in range(48)
    ]
    return write_rows(tmp_path / "text.jsonl", [{"text": text} for text in texts])


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of a few thousand parameters with a chat template."""
    return build_llama(tmp_path_factory.mktemp("models") / "llama", TEMPLATE)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prepared rows are cached in a folder of the test's own. Who caches something makes it: most tests write no files and need none."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "caches" / str(next(TESTS))))


@pytest.fixture(scope="session")
def frozen_modules() -> Iterator[list[int]]:
    """How many modules had been loaded when objects were frozen."""
    with existing_objects_frozen():
        yield [len(sys.modules)]


@pytest.fixture(autouse=True)
def loaded_libraries_frozen(frozen_modules: list[int]) -> None:
    """Each training collects garbage, which takes longer than the training where it goes through all libraries that were loaded until then."""
    if len(sys.modules) > frozen_modules[-1] + MODULES_OF_A_LIBRARY:
        gc.collect()
        gc.freeze()
        frozen_modules.append(len(sys.modules))


@pytest.fixture(autouse=True)
def own_files_trusted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests make their tokenizers and templates themselves: a fork of this large process for each would take a fifth of the time of all tests."""
    if request.node.get_closest_marker("strangers_files") is None:
        for module in TRY_FIRST:
            monkeypatch.setattr(f"autotrain_llm.data.{module}.breach", lambda work: None)


@pytest.fixture(scope="session")
def light_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama that can be checked and not be loaded; its context is 2048 tokens."""
    return build_light_model(tmp_path_factory.mktemp("light") / "llama")


@pytest.fixture(scope="session")
def light_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second Llama, on the same tokenizer, with other weights."""
    folder = build_light_model(tmp_path_factory.mktemp("light") / "teacher")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\x40")  # the number 2
    return folder


@pytest.fixture(scope="session")
def light_scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model of one score."""
    return build_light_model(
        tmp_path_factory.mktemp("light") / "scorer",
        architectures=["LlamaForSequenceClassification"],
        id2label={"0": "LABEL_0"},
    )


@pytest.fixture(scope="session")
def light_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder: it can score and not generate."""
    return build_light_model(
        tmp_path_factory.mktemp("light") / "encoder", model_type="bert", architectures=["BertForMaskedLM"]
    )


def _files_of_the_checkout() -> frozenset[str]:
    """What lies in the folders that tests and typed commands could write into by mistake, without what tools keep there."""
    folders = [ROOT, ROOT / "tests", ROOT / "src"]
    names = (path for folder in folders for path in folder.iterdir() if not path.name.startswith("."))
    return frozenset(str(path.relative_to(ROOT)) for path in names if path.name not in KEPT_BY_TOOLS)


@pytest.fixture(scope="session", autouse=True)
def checkout_stays_as_it_is() -> Iterator[None]:
    """No test may leave a file in the checkout: commands are typed in a folder of their own."""
    before = _files_of_the_checkout()
    yield
    left = sorted(_files_of_the_checkout() - before)
    assert not left, f"tests left files in the checkout: {left}"
