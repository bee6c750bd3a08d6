"""`autotrain export`, read by other programs: transformers, PEFT, and llama.cpp for GGUF files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.cli.main import main
from autotrain_llm.models.gguf import ARCHITECTURES, GGUF_TYPES
from support.rows import questions

PROMPT = "What does Cleo have in 2024? It isn't 12"
TOKENS = 10
CLEAR = 0.03  # distance of logits above which rounding does not decide on a token
SHAPE: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 1,
    "tie_word_embeddings": False,
    "initializer_range": 0.2,
}
# What an architecture has by other names, or must have.
OWN: dict[str, dict[str, Any]] = {
    "cohere": {"tie_word_embeddings": True},
    "gemma": {"tie_word_embeddings": True, "head_dim": 16},
    "gemma2": {"tie_word_embeddings": True, "head_dim": 32, "sliding_window": 16, "query_pre_attn_scalar": 32},
    "gemma3_text": {"tie_word_embeddings": True, "head_dim": 32, "sliding_window": 16, "query_pre_attn_scalar": 32},
    "gpt2": {
        "num_key_value_heads": 4,
        "intermediate_size": 256,
        "n_embd": 64,
        "n_layer": 4,
        "n_head": 4,
        "n_positions": 256,
    },
    "gpt_neox": {"num_key_value_heads": 4},
    "granite": {
        "attention_multiplier": 0.3,
        "embedding_multiplier": 2.0,
        "residual_multiplier": 0.5,
        "logits_scaling": 3.0,
    },
    "granitemoe": {
        "attention_multiplier": 0.3,
        "embedding_multiplier": 2.0,
        "residual_multiplier": 0.5,
        "logits_scaling": 3.0,
        "num_local_experts": 4,
    },
    "mamba": {"intermediate_size": 128},
    "mamba2": {"num_heads": 8, "head_dim": 16, "n_groups": 2},
    "falcon_mamba": {"intermediate_size": 128},
    "mixtral": {"num_local_experts": 4},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2, "num_key_value_heads": 4},
    "qwen2_moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 96,
    },
    "qwen3": {"head_dim": 32},
    "qwen3_moe": {
        "head_dim": 32,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "norm_topk_prob": True,
    },
}
LLAMA_3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 32, "rope_theta": 10000.0}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a new model's tokenizer."""
    from autotrain_llm.models.scratch import train_tokenizer

    texts = (turn["content"] for row in questions(64) for turn in row["messages"])
    return train_tokenizer(texts, tmp_path_factory.mktemp("tokenizer")).folder


def build(folder: Path, kind: str, tokenizer: Path, **changes: Any) -> Any:
    """A small model of an architecture with random weights, whose norms are not all ones, saved with a tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = AutoConfig.for_model(kind, **{**SHAPE, **OWN.get(kind, {}), **changes})
    texts = AutoTokenizer.from_pretrained(tokenizer)
    written = [texts.decode([number], skip_special_tokens=True) for number in range(config.vocab_size)]
    parts = [number for number, text in enumerate(written) if not text.isascii() or not text]
    for seed in range(100):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config).eval()
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.data.add_(torch.randn_like(parameter) * 0.1)
        # llama.cpp does not tell of a token that is a part of a character, so that none of them is to be generated.
        model.get_output_embeddings().weight.data[parts] = 0
        if generated(model, tokenizer)[1] > CLEAR:
            break
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    return model


def generated(model: Any, folder: Path, prompt: str = PROMPT) -> tuple[list[int], float]:
    """The tokens that transformers generates greedily, and the smallest distance of a token's logit from the next one's."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = start = tokenizer(prompt, return_tensors="pt").input_ids
    distances = []
    with torch.no_grad():
        for _ in range(TOKENS):
            best, token = model(ids).logits[0, -1].topk(2)
            ids = torch.cat([ids, token[:1][None]], dim=1)
            distances.append(float(best[0] - best[1]))
    return ids[0, start.shape[1] :].tolist(), min(distances)


def greedy(model: Any, folder: Path, prompt: str = PROMPT) -> list[int]:
    return generated(model, folder, prompt)[0]


def by_llama_cpp(path: Path, prompt: str = PROMPT) -> list[int]:
    """The tokens that llama.cpp generates."""
    xllamacpp = pytest.importorskip("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.warmup, params.verbosity, params.cpuparams.n_threads = 256, 1, False, -1, 1
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    asked = {"prompt": prompt, "n_predict": TOKENS, "temperature": 0, "top_k": 1, "logprobs": 1}
    answer = xllamacpp.Server(params).handle_completions(asked)
    return [token["id"] for token in answer["choices"][0]["logprobs"]["content"]]


def exported(model: Path, folder: Path, *words: str) -> Path:
    assert main(["export", str(model), "--output-dir", str(folder), "--quiet", *words]) == 0
    return folder


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_llama_cpp_generates_the_same_tokens_with_every_architecture(
    kind: str, tokenizer: Path, tmp_path: Path
) -> None:
    model = build(tmp_path / "tiny", kind, tokenizer)
    folder = exported(tmp_path / "tiny", tmp_path / "written", "--to", "gguf", "--dtype", "fp32")
    (path,) = folder.glob("*.gguf")
    assert by_llama_cpp(path) == greedy(model, tmp_path / "tiny")


@pytest.mark.parametrize("scaling", [LLAMA_3, {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}])
def test_scaled_positions_are_written(scaling: dict[str, Any], tokenizer: Path, tmp_path: Path) -> None:
    model = build(tmp_path / "tiny", "llama", tokenizer, rope_parameters=scaling)
    folder = exported(tmp_path / "tiny", tmp_path / "written", "--to", "gguf")
    (path,) = folder.glob("*.gguf")
    prompt = PROMPT * 4
    assert by_llama_cpp(path, prompt) == greedy(model, tmp_path / "tiny", prompt)


@pytest.mark.parametrize("dtype", [name for name in GGUF_TYPES if name != "fp32"])
def test_every_dtype_is_read(dtype: str, tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The stated difference is that of the weights in the file."""
    build(tmp_path / "tiny", "llama", tokenizer)
    words = ["export", str(tmp_path / "tiny"), "--to", "gguf", "--dtype", dtype, "--format", "json"]
    assert main([*words, "--output-dir", str(tmp_path / "written")]) == 0
    document = json.loads(capsys.readouterr().out)
    (path,) = (tmp_path / "written").glob("*.gguf")
    assert document["exported"]["largest_difference"] > 0
    assert len(by_llama_cpp(path)) == TOKENS


def test_the_tokens_of_a_sentencepiece_model_are_read_back(tmp_path: Path) -> None:
    """Merges by rank become scores."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    texts = [turn["content"] for row in questions(64) for turn in row["messages"]]
    raw = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>", *(f"<0x{number:02X}>" for number in range(256))]
    raw.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False))
    document = json.loads(raw.to_str())
    document["added_tokens"] = document["added_tokens"][:3]
    document["pre_tokenizer"] = None
    raw = Tokenizer.from_str(json.dumps(document))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    folder = tmp_path / "spm"
    PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", bos_token="<s>", eos_token="</s>").save_pretrained(
        folder
    )
    model = build(tmp_path / "tiny", "llama", folder)
    written = exported(tmp_path / "tiny", tmp_path / "written", "--to", "gguf")
    (path,) = written.glob("*.gguf")
    assert by_llama_cpp(path) == greedy(model, tmp_path / "tiny")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, tokenizer: Path) -> Path:
    """The run of an adapter, with checkpoints, on conversations."""
    folder = tmp_path_factory.mktemp("tuned")
    build(folder / "base", "llama", tokenizer)
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, questions(16))))
    flags = (
        "--trainer sft --peft --lora-r 4 --lr 1e-2 --epochs 1 --batch-size 4 --save-steps 2 --quiet --max-seq-length 64"
    )
    where = [
        "--model",
        str(folder / "base"),
        "--data-path",
        str(folder / "rows.jsonl"),
        "--output-dir",
        str(folder / "run"),
    ]
    assert main(["llm", *flags.split(), *where, "--chat-template", "chatml"]) == 0
    return folder / "run"


def with_adapter(run: Path) -> Any:
    from peft import AutoPeftModelForCausalLM

    return AutoPeftModelForCausalLM.from_pretrained(run).eval()


def test_a_merged_model_computes_what_base_and_adapter_do(
    tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    words = ["export", str(tuned), "--to", "merged", "--output-dir", str(tmp_path / "merged"), "--format", "json"]
    assert main(words) == 0
    stated = json.loads(capsys.readouterr().out)["exported"]["largest_difference"]
    assert 0 <= stated < 1e-4
    merged, ids = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval(), torch.arange(2, 40)[None]
    with torch.no_grad():
        difference = (merged(ids).logits - with_adapter(tuned)(ids).logits).abs().max()
    assert difference < 1e-4
    assert (tmp_path / "merged" / "prompt_format.json").is_file()
    assert json.loads((tmp_path / "merged" / "generation_config.json").read_text())["eos_token_id"] == [0, 3]


def test_a_merged_model_in_bf16_states_what_rounding_costs(
    tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(tuned), "--to", "merged", "--dtype", "bf16", "--output-dir", str(tmp_path / "merged")]
    assert main(words) == 0
    assert "Weights in bf16" in capsys.readouterr().out
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == "bfloat16"


def test_the_adapter_of_a_checkpoint_is_written_without_its_states(tuned: Path, tmp_path: Path) -> None:
    import torch

    folder = exported(tuned / "checkpoints" / "checkpoint-2", tmp_path / "adapter", "--to", "adapter")
    names = {entry.name for entry in folder.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "prompt_format.json"} <= names
    assert not names & {"optimizer.pt", "trainer_state.json", "scheduler.pt", "checkpoint.json"}
    with torch.no_grad():
        ids = torch.arange(2, 20)[None]
        assert with_adapter(folder)(ids).logits.equal(with_adapter(tuned / "checkpoints" / "checkpoint-2")(ids).logits)


def test_a_modelfile_lies_beside_the_file_of_a_tuned_model(tuned: Path, tmp_path: Path) -> None:
    folder = exported(tuned, tmp_path / "mine-ollama", "--to", "ollama")
    text = (folder / "Modelfile").read_text()
    assert text.startswith("FROM ./mine-fp32.gguf\nTEMPLATE ")
    assert 'PARAMETER stop "<|im_end|>"' in text
    assert by_llama_cpp(folder / "mine-fp32.gguf") == greedy(with_adapter(tuned), tuned)


def test_a_modelfile_without_a_translated_template_has_none(tuned: Path, tmp_path: Path) -> None:
    folder = exported(tuned, tmp_path / "mine", "--to", "ollama", "--chat-template", "llama-2")
    assert "TEMPLATE" not in (folder / "Modelfile").read_text()


def test_nothing_is_written_over_what_is_there(tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["export", str(tuned), "--to", "merged", "--output-dir", str(tmp_path)]) == 2
    assert "E603" in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]
