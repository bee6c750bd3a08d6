"""What is read from a model's files, and each fault that they can show, with its twin that is none."""

import json
import math
import subprocess
import sys

import pytest

from autotrain_llm.models.checks.every import check_model, check_reward_model
from autotrain_llm.models.checks.task import is_known_architecture
from autotrain_llm.models.locate import Located, locate
from autotrain_llm.models.metadata import read_metadata
from support.light_models import light_shapes
from support.model_files import (
    LLAMA,
    PROJECTIONS,
    codes,
    facts_of,
    llama_shapes,
    write_adapter,
    write_model,
    write_safetensors,
)

SCORER = {**LLAMA, "architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}


# --- facts ----------------------------------------------------------------------------------------------------------


def test_a_models_facts_are_read_from_its_files(tmp_path):
    facts = facts_of(write_model(tmp_path / "m"))
    assert facts.is_causal_lm
    assert not (facts.is_encoder or facts.is_encoder_decoder or facts.is_classifier or facts.is_tied)
    assert (facts.model_type, facts.context_length, facts.vocab_size, facts.hidden_size) == ("llama", 64, 10, 8)
    assert (facts.layers, facts.heads, facts.dtype, facts.quantization) == (2, 2, "bfloat16", None)
    assert facts.embedding_rows == 10
    assert facts.linear_names == tuple(sorted(name.rpartition(".")[2] for name in PROJECTIONS))
    assert len(facts.linear_modules) == 14
    assert facts.tokenizer_folder == tmp_path / "m"


def test_parameters_are_counted_and_without_tensors_worked_out_from_the_config(tmp_path):
    folder = write_model(tmp_path / "m")
    counted = facts_of(folder).parameters
    assert counted == sum(math.prod(shape) for shape in llama_shapes().values())
    (folder / "model.safetensors").unlink()
    assert facts_of(folder).parameters == counted


def test_a_real_model_of_the_library_is_read_right(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2, n_positions=32))
    model.save_pretrained(tmp_path)
    facts = facts_of(tmp_path)
    assert facts.is_causal_lm
    assert facts.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (facts.context_length, facts.embedding_rows, facts.is_tied) == (32, 20, True)
    assert facts.linear_names == ("c_attn", "c_fc", "c_proj")


def test_settings_of_a_model_with_several_inputs_are_those_of_its_text_part(tmp_path):
    config = {"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"], "text_config": LLAMA}
    facts = facts_of(write_model(tmp_path / "m", config))
    assert facts.is_causal_lm
    assert facts.context_length == 64


def test_plain_positions_are_no_rope_scaling_and_an_unused_window_is_none(tmp_path):
    plain = {
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        "use_sliding_window": False,
        "sliding_window": 8,
    }
    facts = facts_of(write_model(tmp_path / "plain", **plain))
    assert (facts.rope_scaling, facts.sliding_window) == (None, None)
    scaled = facts_of(
        write_model(tmp_path / "scaled", rope_scaling={"type": "linear", "factor": 2.0}, sliding_window=8)
    )
    assert (scaled.rope_scaling["factor"], scaled.sliding_window) == (2.0, 8)


def test_shards_are_read_through_their_index(tmp_path):
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    shapes = llama_shapes()
    first = dict(list(shapes.items())[:5])
    second = dict(list(shapes.items())[5:])
    write_safetensors(folder / "model-1.safetensors", first)
    write_safetensors(folder / "model-2.safetensors", second)
    index = dict.fromkeys(first, "model-1.safetensors") | dict.fromkeys(second, "model-2.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert facts_of(folder).tensors == shapes
    assert codes(folder) == []
    (folder / "model-2.safetensors").unlink()
    (finding,) = check_model(facts_of(folder), "sft")
    assert finding.code == "M124"
    assert "1 of 2 weight files are missing: model-2.safetensors" in finding.message


def test_an_adapters_facts_are_its_bases_with_its_own_tokenizer_first(tmp_path):
    base = write_model(tmp_path / "base")
    adapter = write_adapter(tmp_path / "adapter", base)
    facts = facts_of(adapter)
    assert facts.is_adapter
    assert (facts.folder, facts.tokenizer_folder, facts.parameters) == (base, base, facts_of(base).parameters)
    (adapter / "tokenizer.json").write_text("{}")
    assert facts_of(adapter).tokenizer_folder == adapter
    assert codes(adapter) == []


def test_a_model_on_the_hub_is_judged_by_its_file_names_and_shapes(tmp_path):
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    files = ("config.json", "tokenizer.json", "model.safetensors")
    facts = read_metadata(Located("org/m", "hub", folder, remote_files=files, remote_tensors=llama_shapes()))
    assert check_model(facts, "sft", peft=True, target_modules="q_proj") == []
    assert facts.embedding_rows == 10
    facts = read_metadata(Located("org/m", "hub", folder, remote_files=("config.json", "pytorch_model.bin")))
    assert [finding.code for finding in check_model(facts, "sft")] == ["M123"]


def test_a_new_model_has_no_faults():
    assert check_model(read_metadata(locate("scratch:1m")), "sft", peft=True, target_modules="anything") == []


# --- faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trainer", ["generic", "sft", "dpo", "orpo", "ppo", "reward"])
def test_a_whole_model_has_no_fault_for_any_trainer(tmp_path, trainer):
    assert codes(write_model(tmp_path / "m"), trainer, peft=True, target_modules="all-linear") == []


@pytest.mark.parametrize("text", [None, "{broken", "[]", b"\xff\xfe"])
def test_a_config_that_cannot_be_read_is_one_finding(tmp_path, text):
    folder = write_model(tmp_path / "m")
    if text is None:
        (folder / "config.json").unlink()
    else:
        (folder / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    (finding,) = check_model(facts_of(folder), "sft")
    assert finding.code == "M121"
    assert finding.file == str(folder / "config.json")


def test_a_folder_above_the_model_is_answered_with_the_model(tmp_path):
    write_model(tmp_path / "above" / "m")
    (finding,) = check_model(facts_of(tmp_path / "above"), "sft")
    assert finding.fix == f"--model {tmp_path / 'above' / 'm'}"


def test_a_config_without_model_type(tmp_path):
    config = {key: value for key, value in LLAMA.items() if key != "model_type"}
    assert codes(write_model(tmp_path / "m", config)) == ["M122"]


def test_no_weights_and_only_pickles(tmp_path):
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (finding,) = check_model(facts_of(folder), "sft")
    assert finding.code == "M123"
    (folder / "pytorch_model.bin").write_bytes(b"x")
    (finding,) = check_model(facts_of(folder), "sft")
    assert "pickles (pytorch_model.bin)" in finding.message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
        (b"", "empty"),
        (b"\x10", "truncated"),
        (b"PK\x03\x04 a zip file and no tensors", "no safetensors file"),
        ((9).to_bytes(8, "little") + b"not  json", "can't be read"),
        ((17).to_bytes(8, "little") + b'{"w":{"shape":1}}', "can't be read"),
    ],
)
def test_a_damaged_weight_file_is_named_with_what_it_is(tmp_path, content, words):
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(content)
    (finding,) = check_model(facts_of(folder), "sft")
    assert finding.code == "M125"
    assert "model.safetensors" in finding.message
    assert words in finding.message


def test_a_download_that_broke_off_is_noticed_by_its_length(tmp_path):
    folder = write_model(tmp_path / "m")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1])
    assert codes(folder) == ["M125"]


def test_an_adapter_without_weights(tmp_path):
    adapter = write_adapter(tmp_path / "adapter", write_model(tmp_path / "base"))
    (adapter / "adapter_model.safetensors").unlink()
    assert codes(adapter) == ["M126"]
    (adapter / "adapter_model.bin").write_bytes(b"x")
    (finding,) = check_model(facts_of(adapter), "sft")
    assert "only a pickle (adapter_model.bin)" in finding.message


def test_no_tokenizer_unless_another_is_named(tmp_path):
    folder = write_model(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    assert codes(folder) == ["M131"]
    assert codes(folder, tokenizer="other") == []


def test_a_tokenizer_with_more_ids_than_the_embedding_has_rows(tmp_path):
    assert codes(write_model(tmp_path / "fits", tokens=10)) == []
    assert codes(write_model(tmp_path / "beyond", tokens=11)) == ["M132"]
    other = write_model(tmp_path / "other", tokens=12)
    assert codes(tmp_path / "fits", tokenizer="other", tokenizer_folder=other) == ["M132"]


def test_added_tokens_count_and_an_adapter_that_grew_the_embedding_has_room(tmp_path):
    base = write_model(tmp_path / "base")
    spec = json.loads((base / "tokenizer.json").read_text())
    spec["added_tokens"] = [{"id": 10, "content": "<|new|>"}]
    grown = {"base_model.model.model.embed_tokens.weight": (11, 8), "base_model.model.lm_head.weight": (11, 8)}
    adapter = write_adapter(tmp_path / "adapter", base, grown)
    (adapter / "tokenizer.json").write_text(json.dumps(spec))
    assert codes(adapter) == []
    headless = write_adapter(tmp_path / "headless", base, dict([*grown.items()][:1]))
    (headless / "tokenizer.json").write_text(json.dumps(spec))
    assert codes(headless) == ["M194"]
    (base / "tokenizer.json").write_text(json.dumps(spec))
    assert codes(base) == ["M132"]


def test_code_of_its_own_needs_a_word_and_a_known_architecture_needs_none(tmp_path):
    own = write_model(tmp_path / "own", model_type="xmodel", auto_map={"AutoModelForCausalLM": "modeling_x.X"})
    assert codes(own) == ["M141"]
    (finding,) = check_model(facts_of(own), "sft", trust_remote_code=True)
    assert "names modeling_x.py" in finding.message
    (own / "modeling_x.py").write_text("")
    assert codes(own, trust_remote_code=True) == []
    assert codes(write_model(tmp_path / "known", auto_map={"AutoModelForCausalLM": "modeling_x.X"})) == []
    assert codes(write_model(tmp_path / "future", model_type="llama99")) == ["M141"]


def test_the_library_knows_the_architectures_that_people_use():
    assert all(
        is_known_architecture(name) for name in ("llama", "qwen2", "qwen3", "gpt2", "smollm3", "gemma3_text", "bert")
    )


@pytest.mark.parametrize(
    ("config", "generates", "scores"),
    [
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, False, True),
        (
            {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True},
            False,
            False,
        ),
        (SCORER, False, True),
        ({"model_type": "llama", "architectures": ["LlamaForTokenClassification"]}, False, False),
        ({"model_type": "llama", "architectures": ["LlamaModel"]}, True, True),
        ({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}, True, True),
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, True, True),
        ({"model_type": "llama"}, True, True),
    ],
)
def test_what_a_model_can_be_trained_for(tmp_path, config, generates, scores):
    shapes = None if config["model_type"] == "llama" else light_shapes(config["model_type"], 10)
    folder = write_model(tmp_path / "m", {**config, "vocab_size": 10}, shapes)
    assert codes(folder, "sft") == ([] if generates else ["M142"])
    assert codes(folder, "reward") == ([] if scores else ["M143"])


def test_quantised_weights_need_an_adapter(tmp_path):
    folder = write_model(tmp_path / "m", quantization_config={"quant_method": "gptq", "bits": 4})
    assert codes(folder) == ["M144"]
    assert codes(folder, peft=True) == []


@pytest.mark.parametrize(
    ("targets", "severities"),
    [
        ("q_proj,v_proj", []),
        (["q_proj", "self_attn.v_proj"], []),
        (r".*\.(q|v)_proj", []),
        ("all-linear", []),
        ("", []),
        (None, []),
        ("q_proj, FAKE_MODULE", ["warning"]),
        ("FAKE_MODULE", ["error"]),
        ("proj", ["error"]),
        ("[q_proj", ["error"]),
    ],
)
def test_target_modules_that_match_nothing(tmp_path, targets, severities):
    facts = facts_of(write_model(tmp_path / "m"))
    found = check_model(facts, "sft", peft=True, target_modules=targets)
    assert [finding.severity for finding in found] == severities
    assert all(finding.fix == "--target-modules q_proj,v_proj" for finding in found)
    assert check_model(facts, "sft", peft=False, target_modules=targets) == []


# --- reward models --------------------------------------------------------------------------------------------------


def reward_codes(folder):
    return [finding.code for finding in check_reward_model(facts_of(folder))]


def scorer_shapes(labels=1):
    return {**llama_shapes(), "score.weight": (labels, 8)}


def test_a_trained_scorer_of_one_label_is_a_reward_model(tmp_path):
    assert reward_codes(write_model(tmp_path / "m", SCORER, scorer_shapes())) == []


def test_a_generator_is_no_reward_model(tmp_path):
    assert reward_codes(write_model(tmp_path / "m")) == ["M161"]


@pytest.mark.parametrize("labels", [{}, {"id2label": {"0": "a", "1": "b", "2": "c"}}])
def test_several_labels_are_no_reward_and_two_are_what_an_unsaid_number_means(tmp_path, labels):
    config = {key: value for key, value in SCORER.items() if key != "id2label"}
    assert reward_codes(write_model(tmp_path / "m", config, scorer_shapes(2), **labels)) == ["M162"]


def test_a_score_head_that_is_absent_or_all_zeros_was_never_trained(tmp_path):
    assert reward_codes(write_model(tmp_path / "absent", SCORER)) == ["M163"]
    folder = write_model(tmp_path / "blank", SCORER)
    write_safetensors(folder / "model.safetensors", scorer_shapes(), fill=b"\0")
    assert reward_codes(folder) == ["M163"]


def test_an_adapter_that_carries_a_score_head_makes_its_base_a_reward_model(tmp_path):
    base = write_model(tmp_path / "base")
    with_head = {"base_model.model.score.weight": (1, 8)}
    assert reward_codes(write_adapter(tmp_path / "whole", base, with_head, task_type="SEQ_CLS")) == []
    assert reward_codes(write_adapter(tmp_path / "headless", base, task_type="SEQ_CLS")) == ["M163"]


def test_reading_a_model_imports_no_heavy_library(tmp_path):
    write_model(tmp_path / "m")
    script = (
        "import sys\n"
        "from autotrain_llm.models.locate import locate\n"
        "from autotrain_llm.models.metadata import read_metadata\n"
        "from autotrain_llm.models.checks.every import check_model\n"
        "assert check_model(read_metadata(locate(sys.argv[1])), 'sft') == []\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'numpy', 'huggingface_hub', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "m")], check=True)
