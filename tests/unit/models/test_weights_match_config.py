"""Parts of a model that don't go together, each with a twin that does: config and weights, adapter and base, names and files."""

import json
import shutil

import pytest

from autotrain_llm import check, plan
from autotrain_llm.models.checks.every import check_model
from support.model_files import codes, facts_of, llama_shapes, only, write_adapter, write_model
from support.rows import write_rows


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_hidden_layers": "two"}, "gives 'two' as num_hidden_layers"),
        ({"hidden_size": 0}, "gives 0 as hidden_size"),
        ({"num_hidden_layers": 2.5}, "gives 2.5 as num_hidden_layers"),
        ({"num_attention_heads": 3, "num_key_value_heads": 3}, "num_attention_heads 3"),
        ({"num_attention_heads": 4, "num_key_value_heads": 3}, "num_key_value_heads 3"),
        ({"pad_token_id": 10}, "10 as pad_token_id"),
        ({"rope_scaling": {"rope_type": "stretchy", "factor": 2}}, "'stretchy'"),
        ({"rope_scaling": {"rope_type": "linear"}}, "without factor"),
        ({"rope_scaling": {"rope_type": "linear", "factor": "two"}}, "'two' as factor"),
        ({"hidden_act": "swishy"}, "gives 'swishy' as hidden_act"),
    ],
)
def test_a_config_that_no_model_can_be_built_from(tmp_path, changes, words):
    findings = check_model(facts_of(write_model(tmp_path / "m", **changes)), "sft")
    assert [finding.code for finding in findings if words in finding.message] == ["M128"]


@pytest.mark.parametrize(
    "changes",
    [
        {"pad_token_id": 9},
        {"pad_token_id": -1},
        {"rope_scaling": {"rope_type": "yarn", "factor": 2}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
        {"num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": None, "auto_map": {"AutoConfig": "x.X"}},
    ],
)
def test_a_config_that_a_model_can_be_built_from(tmp_path, changes):
    assert codes(write_model(tmp_path / "m", **changes)) == []


@pytest.mark.parametrize(
    ("changes", "shapes", "words"),
    [
        ({"vocab_size": 12}, llama_shapes(), "vocab_size is 12, and the embedding has 10 rows"),
        ({"num_hidden_layers": 4}, llama_shapes(), "num_hidden_layers is 4, and they have 2"),
        ({"intermediate_size": 32}, llama_shapes(), "intermediate_size is 32"),
        ({"head_dim": 16}, llama_shapes(), "num_attention_heads is 2 of head_dim 16"),
        ({"num_attention_heads": 4}, llama_shapes(), "num_key_value_heads is 1 of head_dim 2"),
        ({}, {**llama_shapes(), "lm_head.weight": (12, 8)}, "the lm_head has 12 rows"),
    ],
)
def test_weights_that_tell_of_another_model_than_the_config(tmp_path, changes, shapes, words):
    findings = check_model(facts_of(write_model(tmp_path / "m", shapes=shapes, **changes)), "sft")
    assert {finding.code for finding in findings} == {"M129"}
    assert any(words in finding.message for finding in findings)


def test_layers_beyond_those_of_the_config_would_be_left_out_unless_they_may_look_further_ahead(tmp_path):
    finding = only(write_model(tmp_path / "m", shapes=llama_shapes(layers=3)))
    assert (finding.code, "they have 3" in finding.message) == ("M129", True)
    assert codes(write_model(tmp_path / "other", model_type="deepseek_v3", shapes=llama_shapes(layers=3))) == []


def test_parts_of_a_model_need_the_index_that_tells_what_lies_where(tmp_path):
    folder = write_model(tmp_path / "m")
    part = (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    assert only(folder).code == "M127"
    index = {"weight_map": dict.fromkeys(llama_shapes(), part.name)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert codes(folder) == []


def test_an_adapter_fits_the_model_that_it_names(tmp_path):
    base = write_model(tmp_path / "base")
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    assert codes(write_adapter(tmp_path / "fits", base, {name: (2, 8)})) == []
    assert (
        "hidden size of 16 in the adapter and of 8 in the base"
        in only(write_adapter(tmp_path / "other", base, {name: (2, 16)})).message
    )
    prompt = write_adapter(tmp_path / "prompt", base, {"prompt_embeddings": (4, 8)}, peft_type="PROMPT_TUNING")
    assert only(prompt).code == "M130"


Q = "base_model.model.model.layers.0.self_attn.q_proj.lora_"


@pytest.mark.parametrize(
    ("shapes", "config", "words"),
    [
        ({f"{Q}A.weight": (2, 8)}, {"r": 4}, "r is 4, and the matrices have a rank of 2"),
        ({f"{Q}A.weight": (2, 8)}, {"target_modules": ["k_proj"]}, "which would be left out"),
        ({f"{Q}A.weight": (2, 8)}, {"target_modules": ["q_proj", "v_proj"]}, "name v_proj, for which there are no"),
        ({f"{Q}A.weight": (0,)}, {"r": 2}, "are empty"),
        ({f"{Q}A.weight": (2, 8)}, {"modules_to_save": ["lm_head"]}, "modules_to_save name lm_head"),
    ],
)
def test_an_adapter_that_is_not_the_one_its_config_tells_of(tmp_path, shapes, config, words):
    finding = only(write_adapter(tmp_path / "a", write_model(tmp_path / "base"), shapes, **config))
    assert (finding.code, words in finding.message) == ("M134", True)


@pytest.mark.parametrize(
    "config",
    [
        {"r": 2, "target_modules": ["q_proj", "c_attn"]},
        {"r": 4, "rank_pattern": {"q_proj": 2}},
        {"target_modules": ".*q_proj"},
        {"modules_to_save": ["classifier", "score"], "task_type": "SEQ_CLS"},
    ],
)
def test_an_adapter_that_is_the_one_its_config_tells_of(tmp_path, config):
    folder = write_adapter(tmp_path / "a", write_model(tmp_path / "base"), {f"{Q}A.weight": (2, 8)}, **config)
    assert [code for code in codes(folder) if code in ("M130", "M134")] == []


def test_an_adapter_on_the_head_is_merged_and_not_trained_further(tmp_path):
    head = {"base_model.model.lm_head.lora_A.weight": (2, 8), "base_model.model.lm_head.lora_B.weight": (10, 2)}
    folder = write_adapter(tmp_path / "a", write_model(tmp_path / "base"), head)
    assert codes(folder, peft=True) == ["M193"]
    assert codes(folder) == []


def test_an_adapter_on_modules_that_the_base_has_not(tmp_path):
    name = "base_model.model.language_model.layers.0.attn.q.lora_A.weight"
    finding = only(write_adapter(tmp_path / "a", write_model(tmp_path / "base"), {name: (2, 8)}))
    assert (finding.code, "no such module" in finding.message) == ("M130", True)


def test_a_named_token_that_the_tokenizer_lacks_needs_a_free_row(tmp_path):
    folder = write_model(tmp_path / "m")
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<end>"}, "bos_token": "t1"}))
    finding = only(folder)
    assert (finding.code, "<end> (eos_token)" in finding.message) == ("M132", True)
    spare = write_model(tmp_path / "spare", shapes=llama_shapes(rows=11), vocab_size=11)
    (spare / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>"}))
    assert codes(spare) == []


def test_a_config_that_was_never_downloaded(tmp_path):
    folder = write_model(tmp_path / "m")
    (folder / "config.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert "Git LFS pointer" in only(folder).message


def test_an_architecture_that_reads_more_than_text_is_no_language_model(tmp_path):
    sees = write_model(tmp_path / "m", model_type="llava", architectures=["LlavaForConditionalGeneration"])
    assert "no causal language model for llava" in only(sees).message


def test_norms_are_no_targets_of_an_adapter(tmp_path):
    folder = write_model(tmp_path / "m")
    finding = only(folder, peft=True, target_modules="q_proj,input_layernorm")
    assert (finding.code, finding.severity) == ("M151", "error")
    assert codes(folder, peft=True, target_modules="q_proj,embed_tokens") == []


def test_a_head_is_there_unless_the_embedding_stands_in_for_it(tmp_path):
    headless = {name: shape for name, shape in llama_shapes().items() if "lm_head" not in name}
    folder = write_model(tmp_path / "m", shapes=headless)
    assert only(folder).code == "M145"
    assert codes(folder, trainer="reward") == []
    assert codes(write_model(tmp_path / "tied", shapes=headless, tie_word_embeddings=True)) == []


def test_rounded_weights_need_a_word_on_how_they_were_rounded(tmp_path):
    folder = write_model(tmp_path / "m")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes().replace(b'"BF16"', b'"I16" '))
    assert "integers, as of quantised weights (I16)" in only(folder).message


# --- what is asked of a model that can't be had from it ---------------------------------------------------------------


def asked(model, rows, trainer="sft", **flags):
    """Codes of everything that a command draws."""
    command = {"trainer": trainer, "model": str(model), "data_path": str(rows), "lr": 2e-5, "epochs": 1}
    return [finding.code for finding in check(**command, batch_size=2, **flags)]


def test_an_adapter_keeps_its_rank(light_llama, text_rows, tmp_path):
    adapter = write_adapter(tmp_path / "adapter", light_llama, {"score.weight": (1, 8)}, r=8, lora_alpha=16)
    assert asked(adapter, text_rows, peft=True, lora_r=8, lora_alpha=16) == []
    assert asked(adapter, text_rows, peft=True, lora_r=64, lora_alpha=16) == ["M186"]


def test_a_quantised_model_is_not_quantised_again_nor_merged_into(light_llama, text_rows, tmp_path):
    folder = shutil.copytree(light_llama, tmp_path / "quantised")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq"}}))
    assert asked(folder, text_rows, peft=True) == ["M179"]  # for want of CUDA
    assert asked(folder, text_rows, peft=True, merge_adapter=True) == ["M179", "M179"]
    assert asked(light_llama, text_rows, peft=True, merge_adapter=True) == []


def test_a_side_of_a_pair_fits_its_row(light_llama, tmp_path):
    rows = write_rows(
        tmp_path / "pairs.jsonl", [{"prompt": f"{n}?", "chosen": f"{n}.", "rejected": "No."} for n in range(8)]
    )
    columns = {"prompt_text_column": "prompt", "rejected_text_column": "rejected", "lr": 5e-7}
    assert asked_pairs(light_llama, rows, columns) == []
    assert asked_pairs(light_llama, rows, {**columns, "max_prompt_length": 4096}) == ["M185"]
    assert asked_pairs(light_llama, rows, {**columns, "max_completion_length": 1024}) == []


def asked_pairs(model, rows, flags):
    command = {"trainer": "dpo", "model": str(model), "data_path": str(rows), "epochs": 1, "batch_size": 2}
    return [finding.code for finding in check(**command, **flags)]


def test_steps_alone_say_when_to_evaluate_and_to_save(light_llama, text_rows):
    command = {"trainer": "sft", "model": str(light_llama), "data_path": str(text_rows), "lr": 2e-5, "epochs": 1}
    made = plan(**command, batch_size=2, valid_split="0.2", eval_steps=4, save_steps=8)
    arguments = made.arguments
    assert (arguments.eval_strategy, arguments.save_strategy) == ("steps", "steps")
    assert plan(**command, batch_size=2, valid_split="0.2").arguments.eval_strategy == "epoch"
