"""Values from the reward model: what they begin as, what of it is trained, and which reward model can be that."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, LlamaConfig, LlamaForSequenceClassification

from autotrain_llm.checks.preflight import Checked, preflight
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.resolved import resolve
from autotrain_llm.declare.finding import Finding
from autotrain_llm.planning.plan import LayoutPlan
from autotrain_llm.planning.run_inputs import inputs_of
from autotrain_llm.run.algorithms.recipe import make_recipe
from autotrain_llm.run.algorithms.rl.rewards import load_rewards
from autotrain_llm.run.algorithms.rl.value_head import value_head_of
from autotrain_llm.run.algorithms.rl.value_models import add_decided_value_head, make_prefix_baseline
from autotrain_llm.run.engine.flat.model import VALUES
from autotrain_llm.run.engine.layouts import PromptGroup
from autotrain_llm.run.engine.loading import load
from support.light_models import build_light_model
from support.models import build_llama
from support.rows import COLOURS, write_rows

pytestmark = pytest.mark.slow


GOOD = "def score(prompts, completions, **columns):\n    return [len(text) / 99 for text in completions]\n"


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"{colour} is what"} for colour in COLOURS])


@pytest.fixture
def functions(tmp_path: Path) -> str:
    (tmp_path / "scorers.py").write_text(GOOD, encoding="utf-8")
    return f"{tmp_path / 'scorers.py'}:score"


def checked(data: Path, model: Path, **flags: Any) -> Checked:
    command = {"trainer": "ppo", "model": str(model), "data_path": str(data), "lr": 1e-6, "epochs": 1, "batch_size": 4}
    said = parse_kwargs({**command, "mixed_precision": "fp32", "rl_value_model": "reward", **flags})
    assert said.findings == []
    return preflight(resolve(said.values))


def only(found: Checked, code: str) -> Finding:
    (finding,) = found.findings
    assert finding.code == code and finding.parameters[0] == "rl_value_model"
    return finding


# ---- what values begin as


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A policy, and a reward model of another size with the same tokenizer."""
    folder = tmp_path_factory.mktemp("models")
    policy = build_llama(folder / "policy", None)
    scorer = Path(shutil.copytree(policy, folder / "scorer"))
    config = json.loads((policy / "config.json").read_text())
    size = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_labels": 1}
    torch.manual_seed(3)
    model = LlamaForSequenceClassification(LlamaConfig(**{**config, **size, "attention_dropout": 0.3}))
    torch.nn.init.normal_(model.score.weight)
    model.save_pretrained(scorer)
    return policy, scorer


def values_of(found: Checked, prompt_groups: list[PromptGroup]) -> tuple[Any, np.ndarray]:
    """The policy with its value head, and what that says before each token of these answers."""
    assert found.plan is not None and {one.code for one in found.findings} <= {"P809"}
    inputs = inputs_of(found.plan, found.context)
    loaded = load(found.plan, inputs)
    layout = make_recipe(found.plan, inputs).make_layout(loaded)
    add_decided_value_head(found.plan, inputs, loaded.model)
    with torch.no_grad():
        value = layout.forward(loaded.model, layout.collate(prompt_groups), VALUES).value
    assert value is not None
    return loaded.model, value.numpy()


PROMPT_GROUPS = [
    PromptGroup(np.array([5, 6, 7], np.int32), ((np.array([8, 9, 10, 11], np.int32), np.ones(4, dtype=bool)),)),
    PromptGroup(np.array([12, 13, 14, 15], np.int32), ((np.array([16, 2], np.int32), np.ones(2, dtype=bool)),)),
]


def bloom_scorer(scorer: Path, folder: Path) -> Path:
    """A reward model of an architecture that is not known to keep rows apart in one stream."""
    from transformers import BloomConfig, BloomForSequenceClassification

    made = Path(shutil.copytree(scorer, folder / "bloom"))
    size = json.loads((scorer / "config.json").read_text())["vocab_size"]
    bloom = BloomConfig(vocab_size=size, hidden_size=16, n_layer=1, n_head=2, num_labels=1, pad_token_id=0)
    BloomForSequenceClassification(bloom).save_pretrained(made)
    return made


def said_by(scorer: Path) -> np.ndarray:
    """The reward model's own score of each of the answers up to each of its tokens, one call for each."""
    own = AutoModelForSequenceClassification.from_pretrained(scorer).eval()
    said = []
    for prompt_group in PROMPT_GROUPS:
        (answer, _) = prompt_group.answers[0]
        for end in range(len(answer)):
            ids = torch.from_numpy(np.concatenate([prompt_group.prompt, answer[:end]]).astype(np.int64))[None]
            with torch.no_grad():
                said.append(float(own(ids).logits[0, 0]))
    return np.array(said)


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"rl_reward_weights": "-2"},
        {"peft": True, "lora_r": 4, "lora_dropout": 0.3},
        {"gradient_checkpointing": True},
        {"architecture": "bloom"},
    ],
    ids=lambda flags: ",".join(flags) or "plain",
)
def test_at_first_a_value_is_the_reward_models_own_score_at_the_token_before(
    flags: dict[str, Any], models: tuple[Path, Path], prompts: Path, tmp_path: Path
) -> None:
    policy, scorer = models
    if flags.pop("architecture", None):
        scorer = bloom_scorer(scorer, tmp_path)
    found = checked(prompts, policy, rl_reward_model_path=str(scorer), **flags)
    model, values = values_of(found, PROMPT_GROUPS)
    expected = float(flags.get("rl_reward_weights", 1)) * said_by(scorer)
    np.testing.assert_allclose(values, expected, atol=1e-5)
    assert len({round(value, 3) for value in expected}) > 4
    head = value_head_of(model)
    assert head is not None and head.backbone is not None
    trained = {name for name, one in head.named_parameters() if one.requires_grad}
    everything = set(dict(head.named_parameters()))
    if "peft" in flags:
        assert trained == {"linear.weight", "linear.bias"} | {name for name in everything if "lora_" in name}
        assert any("lora_" in name for name in trained)
    else:
        assert trained == everything
    if "gradient_checkpointing" in flags:
        assert all(layer.gradient_checkpointing for layer in head.backbone.layers)


@pytest.mark.parametrize("kind", ["llama", "bloom", "llama, padded"])
def test_what_is_corrected_is_the_reward_models_own_score_at_the_token_before(
    kind: str, models: tuple[Path, Path], prompts: Path, functions: str, tmp_path: Path
) -> None:
    policy, scorer = models
    scorer = bloom_scorer(scorer, tmp_path) if kind == "bloom" else scorer
    flags = {"rl_reward_model_path": str(scorer), "rl_reward_fn": functions, "rl_reward_weights": "0.5,1"}
    found = checked(prompts, policy, **flags, rl_value_model="corrected")
    assert found.plan is not None and found.findings == ()
    inputs = inputs_of(found.plan, found.context)
    loaded = load(found.plan, inputs)
    padded = LayoutPlan("padded", "", packing=False)
    plan = dataclasses.replace(found.plan, layout=padded) if kind == "llama, padded" else found.plan
    layout = make_recipe(plan, inputs).make_layout(loaded)
    assert layout.name == ("flat" if kind == "llama" else "padded")
    add_decided_value_head(plan, inputs, loaded.model)
    head = value_head_of(loaded.model)
    assert head is not None and head.backbone is None and not head.linear.weight.any()
    so_far = make_prefix_baseline(plan, load_rewards(plan, inputs, loaded), layout)
    assert so_far is not None
    batch = layout.collate(PROMPT_GROUPS)
    np.testing.assert_allclose(so_far.of(batch).numpy(), 0.5 * said_by(scorer), atol=1e-5)
    assert not any(one.requires_grad for one in so_far.reward.model.parameters())
    other = checked(prompts, policy, **flags, rl_value_model="shared")
    assert (
        other.plan is not None and make_prefix_baseline(other.plan, load_rewards(plan, inputs, loaded), layout) is None
    )


# ---- which reward model it can be


def test_unless_said_otherwise_the_reward_model_is_corrected_where_it_can_follow_the_policy(
    prompts: Path, light_llama: Path, light_scorer: Path, functions: str, models: tuple[Path, Path], tmp_path: Path
) -> None:
    def kind(policy: Path, **flags: Any) -> str:
        found = checked(prompts, policy, rl_value_model=None, **flags)
        assert found.plan is not None and found.plan.rollouts is not None and found.findings == ()
        return found.plan.rollouts.rl_value_model

    judge = {"rl_reward_model_path": str(light_scorer)}
    assert kind(light_llama, **judge) == kind(light_llama, **judge, rl_reward_fn=functions) == "corrected"
    assert kind(light_llama, **judge, peft=True) == "corrected"
    assert kind(light_llama, rl_reward_fn=functions) == "shared"
    both = f"{light_scorer},{shutil.copytree(light_scorer, tmp_path / 'second')}"
    assert kind(light_llama, rl_reward_model_path=both) == "shared"
    short = changed(light_scorer, tmp_path, max_position_embeddings=40)
    found = checked(prompts, light_llama, rl_value_model=None, rl_reward_model_path=str(short))
    assert found.plan is not None and found.plan.rollouts is not None and "M187" not in map(_code, found.findings)
    assert found.plan.rollouts.rl_value_model == "shared"
    policy, scorer = models
    assert kind(policy, rl_reward_model_path=str(scorer)) == "corrected"
    assert (
        kind(policy, rl_reward_model_path=str(bloom_scorer(scorer, tmp_path))) == "shared"
    )  # it would have to be padded


def _code(finding: Finding) -> str:
    return finding.code


def test_a_reward_model_of_the_policys_tokenizer_draws_nothing_and_the_plan_says_where_values_come_from(
    prompts: Path, light_llama: Path, light_scorer: Path, functions: str
) -> None:
    for more in ({}, {"rl_reward_fn": functions}, {"peft": True}):
        found = checked(prompts, light_llama, rl_reward_model_path=str(light_scorer), **more)
        assert found.findings == () and found.plan is not None
        (said,) = [value for _, rows in found.plan.summary() for name, value, _ in rows if name == "value function"]
        how = "with an adapter of its own" if "peft" in more else "all weights trained"
        assert said == f"a copy of {light_scorer} with its score head, {how}"
    found = checked(prompts, light_llama, rl_reward_model_path=str(light_scorer), rl_value_model="corrected")
    assert found.findings == () and found.plan is not None
    (said,) = [value for _, rows in found.plan.summary() for name, value, _ in rows if name == "value function"]
    assert said == f"{light_scorer}, corrected by a new head on the policy's last layer"


def test_values_begin_as_one_reward_model(
    prompts: Path, light_llama: Path, light_scorer: Path, functions: str, tmp_path: Path
) -> None:
    none = only(checked(prompts, light_llama, rl_reward_fn=functions), "P735")
    assert dict(none.changes) == {"rl_value_model": "shared"}
    both = f"{light_scorer},{shutil.copytree(light_scorer, tmp_path / 'second')}"
    several = only(checked(prompts, light_llama, rl_reward_model_path=both), "P735")
    assert dict(several.changes) == {"rl_value_model": "separate"} and "there are 2" in several.message
    corrected = only(checked(prompts, light_llama, rl_reward_model_path=both, rl_value_model="corrected"), "P735")
    assert dict(corrected.changes) == {"rl_value_model": "shared"}


def encoder_that_scores(folder: Path, kind: str) -> Path:
    architecture = f"{kind.capitalize()}ForSequenceClassification"
    return build_light_model(folder, model_type=kind, architectures=[architecture], id2label={"0": "LABEL_0"})


def changed(scorer: Path, folder: Path, **config: Any) -> Path:
    copied = Path(shutil.copytree(scorer, folder / "changed"))
    held = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(held | config))
    return copied


@pytest.mark.parametrize(
    ("config", "flags", "said"),
    [
        ({"model_type": "bert"}, {}, "(bert) attends in both directions"),
        ({"max_position_embeddings": 40}, {}, "has a context of 40 tokens, and a prompt with its answer has up to 1"),
    ],
)
def test_a_reward_model_that_cannot_follow_the_policy_is_refused_as_its_value_model_alone(
    config: dict[str, Any],
    flags: dict[str, Any],
    said: str,
    prompts: Path,
    light_llama: Path,
    light_scorer: Path,
    tmp_path: Path,
) -> None:
    kind = config.get("model_type")
    judge = changed(light_scorer, tmp_path, **config) if kind is None else encoder_that_scores(tmp_path / kind, kind)
    found = checked(prompts, light_llama, rl_reward_model_path=str(judge), **flags)
    (finding,) = [one for one in found.findings if one.code == "M187"]
    assert said in finding.message and dict(finding.changes) == {"rl_value_model": "separate"}
    other = checked(prompts, light_llama, rl_reward_model_path=str(judge), **flags, rl_value_model="separate")
    assert "M187" not in [one.code for one in other.findings]


def test_a_reward_model_with_another_vocabulary_or_fewer_tokens_is_no_value_model(
    prompts: Path, light_llama: Path, light_scorer: Path, models: tuple[Path, Path], tmp_path: Path
) -> None:
    judge = Path(shutil.copytree(light_scorer, tmp_path / "judge"))
    words = (judge / "tokenizer.json").read_text()
    (judge / "tokenizer.json").write_text(words.replace("im_start", "begin"))
    finding = only(checked(prompts, light_llama, rl_reward_model_path=str(judge)), "M187")
    assert "vocabulary that differs" in finding.message and "im_start" in finding.message
    scorer = models[1]
    rows = json.loads((scorer / "config.json").read_text())["vocab_size"]
    larger = build_llama(tmp_path / "larger", None, vocab_size=rows + 8)
    finding = only(checked(prompts, larger, rl_reward_model_path=str(scorer)), "M187")
    assert f"has {rows} tokens, and the policy may sample any of {rows + 8}" in finding.message


def test_an_adapter_needs_its_modules_in_both_models(prompts: Path, models: tuple[Path, Path], tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    policy, scorer = models
    size = json.loads((policy / "config.json").read_text())["vocab_size"]
    other = Path(shutil.copytree(scorer, tmp_path / "gpt2"))
    gpt2 = GPT2Config(vocab_size=size, n_embd=16, n_layer=1, n_head=2, num_labels=1, pad_token_id=0)
    GPT2ForSequenceClassification(gpt2).save_pretrained(other)
    flags = {"rl_reward_model_path": str(other), "peft": True, "target_modules": "q_proj,v_proj"}
    finding = only(checked(prompts, policy, **flags), "M187")
    assert "can't be given the policy's adapter" in finding.message and "q_proj" in finding.message
    assert checked(prompts, policy, **flags, rl_value_model="corrected").findings == ()
    everywhere = flags | {"target_modules": "all-linear"}
    assert checked(prompts, policy, **everywhere).findings == ()
    _, values = values_of(checked(prompts, policy, **everywhere), PROMPT_GROUPS)
    assert values.shape == (6,)
