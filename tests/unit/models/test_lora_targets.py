"""What an adapter can be on: the data about it, compared with the installed PEFT, and the findings."""

from __future__ import annotations

from inspect import signature
from typing import Any

import pytest

from autotrain_llm.models.architectures import EXPERTS_WITH_LORA, MIXERS
from autotrain_llm.models.checks.every import RULES, check_model
from autotrain_llm.models.checks.roles import ENCODER, LANGUAGE_MODEL, SCORER
from support.model_files import LLAMA, codes, facts_of, llama_shapes, write_model

SHARED = {"metadata", "parameter", "tokenizer"}  # what every role of a model is checked with
EXPERTS = {
    f"model.layers.{layer}.block_sparse_moe.experts.{expert}.{name}.weight": shape
    for layer in range(2)
    for expert in range(2)
    for name, shape in {"w1": (16, 8), "w2": (8, 16), "w3": (16, 8)}.items()
}
OF_A_MIXTURE = {name: shape for name, shape in llama_shapes().items() if ".mlp." not in name} | EXPERTS


def mixture(folder: Any, kind: str = "mixtral") -> Any:
    return write_model(folder, {**LLAMA, "model_type": kind, "num_local_experts": 2}, OF_A_MIXTURE)


def test_the_mixtures_whose_experts_peft_adapts_are_those_of_the_installed_peft() -> None:
    conversions = pytest.importorskip("peft.utils.transformers_weight_conversion")
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as DECODERS

    patterns = conversions._MODEL_TO_CONVERSION_PATTERN
    adapted = {kind for kind, pattern in patterns.items() if pattern in conversions._MOE_TARGET_MODULE_MAPPING}
    assert {kind for kind in adapted if kind in DECODERS} == EXPERTS_WITH_LORA & set(DECODERS)


def test_the_mixers_are_those_that_the_installed_peft_refuses() -> None:
    from peft import LoraConfig
    from peft.tuners.tuners_utils import _check_lora_target_modules_mamba
    from transformers import PretrainedConfig

    class Model:
        config = PretrainedConfig()

    for kind in MIXERS:
        Model.config.model_type = kind
        with pytest.raises(ValueError, match="out_proj"):
            _check_lora_target_modules_mamba(LoraConfig(), Model(), "out_proj")  # type: ignore[arg-type]


def test_an_adapter_of_experts_has_neither_dropout_nor_dora(tmp_path: Any) -> None:
    folder = mixture(tmp_path / "model")
    for targets in ("all-linear", "w1,w2,w3", "w2"):
        assert codes(folder, peft=True, target_modules=targets) == []
        assert codes(folder, peft=True, target_modules=targets, lora_dropout=0.1, use_dora=True) == ["M189", "M189"]
    assert codes(folder, peft=True, target_modules="q_proj,v_proj", lora_dropout=0.1, use_dora=True) == []


def test_matrices_that_are_fused_have_to_be_named_together(tmp_path: Any) -> None:
    (finding,) = check_model(facts_of(mixture(tmp_path / "model")), "sft", peft=True, target_modules="w1,w2")
    assert finding.code == "M190"
    assert finding.changes == {"target_modules": "w1,w2,w3"}


def test_experts_that_get_no_adapter_are_told(tmp_path: Any) -> None:
    folder = mixture(tmp_path / "model", "phimoe")
    (finding,) = check_model(facts_of(folder), "sft", peft=True, target_modules="all-linear")
    assert finding.code == "M191"
    assert finding.changes == {"target_modules": "k_proj,o_proj,q_proj,v_proj"}
    assert codes(folder, peft=True, target_modules="q_proj,k_proj,v_proj,o_proj") == []
    assert codes(folder) == []


def test_matrices_that_kernels_read_are_refused_by_name(tmp_path: Any) -> None:
    shapes = {"backbone.layers.0.mixer.in_proj.weight": (8, 8), "backbone.layers.0.mixer.out_proj.weight": (8, 8)}
    folder = write_model(tmp_path / "model", {**LLAMA, "model_type": "mamba"}, llama_shapes() | shapes)
    (finding,) = check_model(facts_of(folder), "sft", peft=True, target_modules="in_proj,out_proj")
    assert (finding.code, finding.changes) == ("M192", {"target_modules": "in_proj"})
    assert codes(folder, peft=True, target_modules="all-linear") == []


def test_every_rule_about_models_is_told_all_that_it_reads_whatever_the_model_is_for() -> None:
    known = {LANGUAGE_MODEL: set(signature(check_model).parameters), SCORER: SHARED, ENCODER: SHARED}
    for rule in RULES:
        for role in rule.roles or known:
            assert set(rule.arguments) <= known[role], (rule.code, role)
