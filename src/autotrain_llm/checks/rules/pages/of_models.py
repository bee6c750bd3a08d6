"""Findings about the files of models: one that is in order, and a copy of it that is changed."""

from __future__ import annotations

from autotrain_llm.declare.example import (
    ANSWERS,
    DPO,
    PAIRS,
    PPO,
    REWARD,
    SFT,
    TWO,
    Example,
    of_flags,
    of_model,
)

TEACHER = "--use-distillation --teacher-model "
PROMPTS = '{"prompt": "Hi"}\n{"prompt": "Bye"}\n'
TURNS = '{"prompt": [{"role": "user", "content": "Hi"}]}\n'
ADAPTER = """mkdir adapter
echo '{"peft_type": "LORA", "base_model_name_or_path": "MODEL"}' > adapter/adapter_config.json"""
HEADER = '{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight":{"dtype":"F32","shape":[1,16],"data_offsets":[0,64]}}'
WITH_WEIGHTS = f"""{ADAPTER}
printf '\\{len(HEADER):03o}\\0\\0\\0\\0\\0\\0\\0%s' '{HEADER}' > adapter/adapter_model.safetensors
head -c 64 /dev/zero >> adapter/adapter_model.safetensors"""

# A tokenizer whose own tokens, the added ones aside, have each other's ids.
MOVED = """python -c "import json
whole = json.load(open('other/tokenizer.json'))
words, added = whole['model']['vocab'], {token['content'] for token in whole['added_tokens']}
own = [word for word in words if word not in added]
words.update(zip(own, [words[word] for word in reversed(own)]))
json.dump(whole, open('other/tokenizer.json', 'w'))"
"""


def of_copy(change: str, wrong: str = "", right: str | None = None, rows: str = TWO, command: str = SFT) -> Example:
    """The same command on a model and on a copy of it that was changed."""
    refuses = f"{command.replace('MODEL', 'changed')}rows.jsonl {wrong}".rstrip()
    accepts = f"{command}rows.jsonl {wrong if right is None else right}".rstrip()
    return Example(refuses, accepts, rows, rows, wrong=f"cp -r MODEL changed\n{change}")


def of_config_key(old: str, new: str, wrong: str = "", rows: str = TWO, command: str = SFT) -> Example:
    """A copy with something else in its config.json."""
    return of_copy(f"sed -i.old 's/{old}/{new}/' changed/config.json", wrong, None, rows, command)


def of_generation(wrong: str, right: str) -> Example:
    """Two models that are told apart by their generation_config.json."""
    command = SFT.replace("MODEL", "copy") + "rows.jsonl"
    return Example(
        command,
        command,
        before="cp -r MODEL copy",
        wrong=f"echo '{wrong}' > copy/generation_config.json",
        right=f"echo '{right}' > copy/generation_config.json",
    )


EXAMPLES: dict[str, Example] = {
    "M102": of_model("./nowhere"),
    "M103": of_model("rows.jsonl"),
    "M105": of_model("gpt-4"),
    "M108": Example(SFT.replace("MODEL", "somebody/something") + "rows.jsonl --offline", SFT + "rows.jsonl --offline"),
    "M112": of_model("scratch:1k", "scratch:1m"),
    "M111": of_model("scratch:huge", "scratch:1m"),
    "M104": Example(
        SFT.replace("MODEL", "./quantised") + "rows.jsonl",
        SFT + "rows.jsonl",
        wrong="mkdir quantised\necho GGUF > quantised/model-q4.gguf",
    ),
    "M106": Example(
        SFT.replace("MODEL", "runs/mine@step-40") + "rows.jsonl",
        SFT.replace("MODEL", "runs/mine@last") + "rows.jsonl",
        before="mkdir runs\ncp -r MODEL runs/mine",
    ),
    "M107": Example(
        SFT.replace("MODEL", "./adapter") + "rows.jsonl --peft",
        SFT.replace("MODEL", "./adapter") + "rows.jsonl --peft",
        wrong=WITH_WEIGHTS.replace('"MODEL"', '"./nowhere"'),
        right=WITH_WEIGHTS,
    ),
    "M109": Example(
        SFT.replace("MODEL", "org/model") + "rows.jsonl", SFT + "rows.jsonl", on="where org/model is gated on the Hub"
    ),
    "M110": Example(
        SFT.replace("MODEL", "org/model") + "rows.jsonl", SFT + "rows.jsonl", on="where the Hub has no org/model"
    ),
    "M121": of_copy("rm changed/config.json"),
    "M122": of_config_key('"model_type"', '"type"'),
    "M123": of_copy("rm changed/model.safetensors"),
    "M124": of_copy(
        "rm changed/model.safetensors\n"
        """echo '{"weight_map": {"lm_head.weight": "model-00001.safetensors"}}' > changed/model.safetensors.index.json"""
    ),
    "M125": of_copy("head -c 5000 MODEL/model.safetensors > changed/model.safetensors"),
    "M126": Example(
        SFT.replace("MODEL", "./adapter") + "rows.jsonl --peft",
        SFT.replace("MODEL", "./adapter") + "rows.jsonl --peft",
        wrong=ADAPTER,
        right=WITH_WEIGHTS,
    ),
    "M127": of_copy("mv changed/model.safetensors changed/model-00001-of-00002.safetensors"),
    "M128": of_config_key('"num_hidden_layers": ', '"num_hidden_layers": "two", "was": '),
    "M129": of_config_key('"vocab_size": ', '"vocab_size": 1'),
    "M130": Example(
        SFT.replace("MODEL", "./adapter") + "rows.jsonl --peft",
        SFT.replace("MODEL", "./adapter") + "rows.jsonl --peft",
        wrong=WITH_WEIGHTS.replace("LORA", "PROMPT_TUNING"),
        right=WITH_WEIGHTS,
    ),
    "M131": of_copy("rm changed/tokenizer.json"),
    "M132": of_copy("""sed -i.old 's/"id": 3,/"id": 3000,/' changed/tokenizer.json"""),
    "M134": Example(
        SFT.replace("MODEL", "./adapter") + "rows.jsonl --peft",
        SFT.replace("MODEL", "./adapter") + "rows.jsonl --peft",
        wrong=WITH_WEIGHTS.replace('"LORA"', '"LORA", "r": 64'),
        right=WITH_WEIGHTS.replace('"LORA"', '"LORA", "r": 1'),
    ),
    "M133": of_config_key('"model_type": "llama"', '"model_type": "gpt2"'),
    "M141": of_config_key(
        '"model_type": "llama"', '"model_type": "mine", "auto_map": {"AutoModelForCausalLM": "mine.Mine"}'
    ),
    "M142": of_model("SCORER"),
    "M143": of_config_key('"llama"', '"t5"', rows=PAIRS, command=REWARD),
    "M144": of_config_key("^{", '{"quantization_config": {"quant_method": "gptq", "bits": 4}, '),
    "M145": of_copy(
        "sed -i.old 's/lm_head/lm_hand/' changed/model.safetensors\n"
        """sed -i.old 's/"tie_word_embeddings": true/"tie_word_embeddings": false/' changed/config.json"""
    ),
    "M146": of_generation('{"temperature": "high"}', '{"temperature": 0.6, "do_sample": true}'),
    "M147": of_generation('{"temperature": 0.6}', '{"temperature": 0.6, "do_sample": true}'),
    "M148": of_generation('{"eos_token_id": 50256}', '{"eos_token_id": 0}'),
    "M151": of_flags("--peft --target-modules q_porj", "--peft --target-modules q_proj"),
    "M161": Example(PPO.replace("SCORER", "TEACHER") + "rows.jsonl", PPO + "rows.jsonl", PROMPTS, PROMPTS),
    "M162": Example(
        PPO.replace("SCORER", "judge") + "rows.jsonl",
        PPO + "rows.jsonl",
        PROMPTS,
        PROMPTS,
        wrong="""cp -r SCORER judge\nsed -i.old 's/"LABEL_0"/"bad", "1": "good"/' judge/config.json""",
    ),
    "M163": Example(
        PPO.replace("SCORER", "judge") + "rows.jsonl",
        PPO + "rows.jsonl",
        PROMPTS,
        PROMPTS,
        wrong="cp -r SCORER judge\ncp MODEL/model.safetensors judge/model.safetensors",
    ),
    "M171": of_flags("--max-seq-length 100000", "--max-seq-length 512"),
    "M172": Example(
        SFT.replace("MODEL", "short") + "rows.jsonl --max-seq-length 512",
        SFT.replace("MODEL", "short") + "rows.jsonl --max-seq-length 64",
        before="cp -r MODEL short\nsed -i.old 's/^{/{\"model_max_length\": 64,/' short/tokenizer_config.json",
    ),
    "M188": of_flags(
        "--tokenizer other",
        "--tokenizer same",
        before="cp -r MODEL other\ncp -r MODEL same\n" + MOVED,
    ),
    "M173": of_config_key('"llama"', '"nemotron"', "--packing"),
    "M174": of_flags(
        "--model-ref other",
        "--model-ref TEACHER",
        PAIRS,
        DPO,
        before="cp -r MODEL other\nsed -i.old 's/im_start/begin/' other/tokenizer.json",
    ),
    "M175": of_copy("""sed -i.old '/"pad_token"/d' changed/*token*_*.json""", rows=PAIRS, command=REWARD),
    "M176": Example(
        REWARD.replace("MODEL", "./adapter") + "rows.jsonl --peft",
        REWARD.replace("MODEL", "./adapter") + "rows.jsonl --peft --merge-adapter",
        PAIRS,
        PAIRS,
        before=WITH_WEIGHTS,
    ),
    "M177": Example(
        PPO.replace("SCORER", "judge") + "rows.jsonl",
        PPO + "rows.jsonl",
        TURNS,
        TURNS,
        wrong="cp -r SCORER judge\nrm judge/chat_template.jinja",
    ),
    "M187": Example(
        PPO.replace("SCORER", "judge") + "rows.jsonl --rl-value-model reward",
        PPO + "rows.jsonl --rl-value-model reward",
        PROMPTS,
        PROMPTS,
        wrong="cp -r SCORER judge\nsed -i.old 's/im_start/begin/' judge/tokenizer.json",
    ),
    "M178": of_flags("--rl-max-new-tokens 2046", "--rl-max-new-tokens 64", PROMPTS, PPO),
    "M179": of_config_key("^{", '{"quantization_config": {"quant_method": "gptq", "bits": 4}, ', "--peft"),
    "M180": of_flags("--gradient-accumulation 4", "--gradient-accumulation 1"),
    "M181": of_flags(
        TEACHER + "other",
        TEACHER + "TEACHER",
        before="cp -r MODEL other\nsed -i.old 's/im_start/begin/' other/tokenizer.json",
    ),
    "M182": of_flags(TEACHER + "copy", TEACHER + "TEACHER", before="cp -r MODEL copy"),
    "M183": Example(
        SFT + "rows.jsonl --teacher-prompt-template 'Think: {prompt}\n' " + TEACHER + "TEACHER",
        SFT + "rows.jsonl --teacher-prompt-template 'Think: {prompt}\n' " + TEACHER + "TEACHER",
        TWO,
        ANSWERS,
    ),
    "M184": of_flags(
        TEACHER + "short",
        TEACHER + "TEACHER",
        '{"text": "%s"}\n' % ("word " * 40) + TWO,
        before="""cp -r TEACHER short\nsed -i.old 's/_embeddings": 2048/_embeddings": 16/' short/config.json""",
    ),
    "M185": of_flags("--max-prompt-length 4096", "--max-prompt-length 512", PAIRS, DPO),
    "M186": Example(
        SFT.replace("MODEL", "./adapter") + "rows.jsonl --peft --lora-r 64",
        SFT.replace("MODEL", "./adapter") + "rows.jsonl --peft --lora-r 1",
        before=WITH_WEIGHTS.replace('"LORA"', '"LORA", "r": 1'),
    ),
    "P726": of_flags(
        "--use-enhanced-eval --eval-metrics exact_match --valid-split 1 --eval-max-new-tokens 2048",
        "--use-enhanced-eval --eval-metrics exact_match --valid-split 1 --eval-max-new-tokens 256",
        ANSWERS,
    ),
    "P727": of_flags(
        "--use-enhanced-eval --eval-metrics bertscore --valid-split 1 --eval-bertscore-model ENCODER --eval-bertscore-layer 9",
        "--use-enhanced-eval --eval-metrics bertscore --valid-split 1 --eval-bertscore-model ENCODER --eval-bertscore-layer 1",
        ANSWERS,
    ),
    "P734": of_flags("--rl-max-new-tokens 2048", "--rl-max-new-tokens 256", PROMPTS, PPO),
}
