"""Commands and config files as people write them, in the shapes that public guides and recipes have, with rows that suit them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from support.rows import COLOURS

ROWS = 400
GPU, CPU = "gpu", "cpu"


class CleanConfig(NamedTuple):
    """`command` is what follows `autotrain llm`; MODEL, TEACHER, SCORER and ENCODER stand for models. `rows` is a kind of ROWS_OF, written to the file
    `data`; `files` are other files beside it."""

    name: str
    command: str
    rows: str = "chat"
    data: str = "train.jsonl"
    files: Mapping[str, str] = {}
    machine: str = CPU


def _chat(n: int) -> dict[str, Any]:
    return {"messages": [_user(_question(n)), {"role": "assistant", "content": f"{COLOURS[n % 8]} comes first."}]}


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _question(n: int) -> str:
    return f"Number {n}: which comes first, {COLOURS[n % 8]} or {COLOURS[(n // 8) % 8]}?"


def _pair(n: int) -> dict[str, Any]:
    good, bad = COLOURS[n % 8], COLOURS[(n // 8 + 1 + n % 7) % 8]
    return {"prompt": _question(n), "chosen": f"{good} comes first.", "rejected": f"Perhaps {bad}, or number {n}."}


# A row of each kind, by its number.
ROWS_OF = {
    "chat": _chat,
    "system chat": lambda n: {
        "messages": [{"role": "system", "content": "Answer in one sentence."}, *_chat(n)["messages"]]
    },
    "sharegpt": lambda n: {
        "conversations": [
            {"from": "human", "value": _question(n)},
            {"from": "gpt", "value": f"{COLOURS[n % 8]} comes first."},
        ]
    },
    "text": lambda n: {
        "text": f"Report {n}. The {COLOURS[n % 8]} house stands before the {COLOURS[n % 5]} one, at number {n * 7}."
    },
    "body": lambda n: {
        "id": n,
        "body": f"Chapter {n}. The {COLOURS[n % 8]} house stands before the {COLOURS[n % 5]} one, at number {n * 7}.",
    },
    "alpaca": lambda n: {
        "instruction": "Which colour comes first?",
        "input": f"{n}: {COLOURS[n % 8]}, {COLOURS[(n // 8) % 8]}",
        "output": f"Of number {n} it is {COLOURS[n % 8]}.",
    },
    "answers": lambda n: {"prompt": _question(n), "completion": f"{COLOURS[n % 8]} comes first."},
    "squad": lambda n: {
        "context": f"In street {n} the {COLOURS[n % 8]} house stands before the {COLOURS[n % 5]} one.",
        "question": f"Which house stands first in street {n}?",
        "answer": f"The {COLOURS[n % 8]} one.",
    },
    "reasoned": lambda n: {
        "question": _question(n),
        "thinking": f"The question {n} names {COLOURS[n % 8]} before any other colour.",
        "answer": f"{COLOURS[n % 8]}.",
    },
    "thoughts": lambda n: {
        "prompt": _question(n),
        "completion": f"<think>It names {COLOURS[n % 8]} before the others.</think>{COLOURS[n % 8]}.",
    },
    "pairs": _pair,
    "turn pairs": lambda n: {
        "chosen": [_user(_question(n)), {"role": "assistant", "content": _pair(n)["chosen"]}],
        "rejected": [_user(_question(n)), {"role": "assistant", "content": _pair(n)["rejected"]}],
    },
    "labelled": lambda n: {
        "prompt": _question(n),
        "completion": _pair(n)["chosen" if n % 2 else "rejected"],
        "label": bool(n % 2),
    },
    "prompts": lambda n: {"prompt": _question(n)},
    "maths": lambda n: {"question": f"What is {n} plus {n + 3}?", "answer": str(2 * n + 3)},
    "graded": lambda n: {"prompt": _question(n), "response": _pair(n)["chosen"], "label": ["poor", "fair", "good"][n % 3]},
    "tokens": lambda n: {"input_ids": [*(4 + (n * at + n // 90) % 90 for at in range(24)), 0]},
}  # fmt: skip


def written(rows: str, count: int = ROWS, start: int = 0, suffix: str = ".jsonl") -> str:
    """Rows as a file of this suffix."""
    made = [ROWS_OF[rows](n) for n in range(start, start + count)]
    if suffix == ".json":
        return json.dumps(made)
    if suffix == ".txt":
        return "\n\n".join(row["text"] for row in made)
    if suffix == ".csv":
        import csv
        import io

        file = io.StringIO()
        table = csv.DictWriter(file, made[0].keys())
        table.writeheader()
        table.writerows(made)
        return file.getvalue()
    return "".join(json.dumps(row) + "\n" for row in made)


PAIR_COLUMNS = "--prompt-text-column prompt --text-column chosen --rejected-text-column rejected"
QLORA = "--peft --quantization int4 --optimizer paged_adamw_8bit --mixed-precision bf16"
REWARD = "def right(prompts, completions, answer, **columns):\n    return [float(a in c) for a, c in zip(answer, completions)]\n"
BRIEF = "def brief(completions, **columns):\n    return [-len(text) / 100 for text in completions]\n"

CONFIGS = [
    # -- supervised fine-tuning, as commands
    CleanConfig(
        "a chat data set with a quantized adapter",
        f"--trainer sft --model MODEL --data-path train.jsonl --chat-template tokenizer --text-column messages --train-split train {QLORA} "
        "--target-modules all-linear --epochs 3 --batch-size 1 --gradient-accumulation 8 --lr 1e-5 --scheduler cosine",
        machine=GPU,
    ),
    CleanConfig(
        "an adapter on the attention, for instructions",
        "--trainer sft --model MODEL --data-path alpaca.json --peft --lora-r 8 --lora-alpha 16 --lora-dropout 0.05 --target-modules q_proj,v_proj "
        "--epochs 3 --batch-size 4 --gradient-accumulation 32 --lr 3e-4 --block-size 256 --valid-split 40 --weight-decay 0",
        "alpaca",
        "alpaca.json",
    ),
    CleanConfig(
        "all weights in bf16 on one device",
        "--trainer sft --model MODEL --data-path train.jsonl --lr 1e-5 --epochs 3 --batch-size 4 --mixed-precision bf16 --gradient-checkpointing "
        "--scheduler cosine --warmup-ratio 0.03 --weight-decay 0 --max-grad-norm 1.0 --attn-implementation flash_attention_2",
        machine=GPU,
    ),
    CleanConfig(
        "a text column with an old GPU",
        "--model MODEL --trainer sft --data-path train.csv --text-column text --lr 2e-4 --batch-size 1 --epochs 1 --block-size 1024 --warmup-ratio 0.01 "
        "--peft --lora-r 16 --lora-alpha 32 --lora-dropout 0.05 --weight-decay 0.01 --gradient-accumulation 4 --quantization int8 --mixed-precision fp16",
        "text",
        "train.csv",
        machine="old gpu",
    ),
    CleanConfig(
        "packed rows and a long context",
        "--trainer sft --model MODEL --data-path train.jsonl --packing --max-seq-length 2048 --lr 2e-5 --epochs 4 --batch-size 2 --scheduler cosine",
    ),
    CleanConfig(
        "conversations in the form of ShareGPT, with a template by name",
        "--trainer sft --model MODEL --data-path sharegpt.json --chat-template chatml --peft --lora-r 32 --lora-alpha 16 --lr 2e-4 --epochs 1 "
        "--batch-size 8 --save-strategy epoch --save-total-limit 3",
        "sharegpt",
        "sharegpt.json",
    ),
    CleanConfig(
        "early stopping on held-out rows",
        "--trainer sft --model MODEL --data-path train.jsonl --valid-split 0.1 --eval-strategy steps --eval-steps 20 --save-strategy steps --save-steps 20 "
        "--load-best-model-at-end --metric-for-best-model eval_loss --early-stopping-patience 3 --lr 5e-5 --epochs 5 --batch-size 8 --logging-steps 5",
    ),
    CleanConfig(
        "evaluation rows in a file of their own",
        "--trainer sft --model MODEL --data-path train.jsonl --eval-dataset-path dev.jsonl --eval-strategy epoch --lr 5e-5 --epochs 2 --batch-size 8",
        files={"dev.jsonl": written("chat", 40, ROWS)},
    ),
    CleanConfig(
        "a folder with splits",
        "--trainer sft --model MODEL --data-path data --train-split train --valid-split validation --eval-steps 25 --lr 5e-5 --epochs 2 --batch-size 8",
        "answers",
        "data/train.jsonl",
        files={"data/validation.jsonl": written("answers", 40, ROWS)},
    ),
    CleanConfig(
        "metrics of generated answers",
        "--trainer sft --model MODEL --data-path train.jsonl --valid-split 0.1 --use-enhanced-eval --eval-metrics perplexity,bleu,rouge --eval-samples 20 "
        "--eval-max-new-tokens 32 --eval-save-predictions --lr 5e-5 --epochs 2 --batch-size 8",
        "answers",
    ),
    CleanConfig(
        "a high rank with rsLoRA",
        "--trainer sft --model MODEL --data-path train.jsonl --peft --use-rslora --lora-r 64 --lora-alpha 64 --lora-dropout 0 --lr 1e-4 --epochs 2 "
        "--batch-size 8 --merge-adapter",
    ),
    CleanConfig(
        "a low rank with DoRA",
        "--trainer sft --model MODEL --data-path train.jsonl --peft --use-dora --lora-r 4 --lora-alpha 8 --target-modules q_proj,k_proj,v_proj,o_proj "
        "--lr 2e-4 --max-steps 100 --batch-size 4",
    ),
    CleanConfig(
        "reasoning in a column of its own",
        "--trainer sft --model MODEL --data-path train.jsonl --reasoning-column thinking --lr 2e-5 --epochs 3 --batch-size 8",
        "reasoned",
    ),
    CleanConfig(
        "questions about passages",
        "--trainer sft --model MODEL --data-path squad.csv --prompt-text-column question --text-column answer --lr 2e-5 --epochs 3 --batch-size 8",
        "squad",
        "squad.csv",
    ),
    CleanConfig(
        "a constant rate without a warm-up",
        "--trainer sft --model MODEL --data-path train.jsonl --scheduler constant --warmup-ratio 0 --optimizer adafactor --lr 1e-4 --epochs 3 --batch-size 8 "
        "--seed 1234 --max-samples 200",
    ),
    CleanConfig(
        "a schedule that falls at the end",
        "--trainer sft --model MODEL --data-path train.jsonl --scheduler warmup_stable_decay --warmup-ratio 0.05 --lr 5e-5 --epochs 3 --batch-size 8",
        "system chat",
    ),
    CleanConfig(
        "prompts that are trained on too",
        "--trainer sft --model MODEL --data-path train.jsonl --response-only-loss false --lr 2e-5 --epochs 3 --batch-size 8",
        "answers",
    ),
    CleanConfig(
        "rows that are tokens already",
        "--trainer sft --model MODEL --data-path tokens.jsonl --lr 2e-5 --epochs 1 --batch-size 8",
        "tokens",
        "tokens.jsonl",
    ),
    CleanConfig(
        "a plan for a GPU that is not there",
        "--trainer sft --model MODEL --data-path train.jsonl --peft --target-memory 24GiB --gradient-checkpointing --lr 2e-4 --epochs 1 --batch-size 2",
    ),
    CleanConfig(
        "a preset and nothing else",
        "--preset quick-look --trainer sft --model MODEL --data-path train.jsonl",
    ),
    CleanConfig(
        "trackers",
        "--trainer sft --model MODEL --data-path train.jsonl --lr 2e-5 --epochs 3 --batch-size 8 --log tensorboard,wandb --tracker-project colours "
        "--run-name first --output-dir runs/colours-1",
        machine=GPU,
    ),
    # -- pretraining
    CleanConfig(
        "further pretraining on documents",
        "--trainer generic --model MODEL --data-path corpus.txt --block-size 512 --lr 5e-5 --epochs 1 --batch-size 4 --gradient-accumulation 2 "
        "--scheduler cosine --warmup-ratio 0.02 --weight-decay 0.1 --valid-split 0.05 --eval-strategy epoch",
        "text",
        "corpus.txt",
    ),
    CleanConfig(
        "a new model from nothing",
        "--trainer generic --model scratch:1m --data-path corpus.txt --block-size 256 --lr 1e-3 --max-steps 100 --batch-size 8 --scheduler cosine "
        "--save-steps 50",
        "text",
        "corpus.txt",
    ),
    CleanConfig(
        "texts in a column with another name",
        "--trainer generic --model MODEL --data-path books.jsonl --text-column body --lr 2e-5 --epochs 2 --batch-size 2",
        "body",
        "books.jsonl",
    ),
    # -- preferences
    CleanConfig(
        "dpo of all weights",
        f"--trainer dpo --model MODEL --data-path pairs.jsonl {PAIR_COLUMNS} --dpo-beta 0.01 --lr 5e-7 --epochs 1 --batch-size 8 "
        "--gradient-accumulation 2 --scheduler cosine --warmup-ratio 0.1 --block-size 1024 --max-prompt-length 512 --valid-split 0.05 --eval-strategy steps "
        "--eval-steps 10 --gradient-checkpointing --mixed-precision bf16",
        "pairs",
        "pairs.jsonl",
        machine=GPU,
    ),
    CleanConfig(
        "dpo with a quantized adapter",
        f"--trainer dpo --model MODEL --data-path pairs.jsonl {PAIR_COLUMNS} {QLORA} --lora-r 128 --lora-alpha 128 --lora-dropout 0.05 "
        "--target-modules q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj --lr 5e-6 --epochs 1 --batch-size 4 --gradient-accumulation 4",
        "pairs",
        "pairs.jsonl",
        machine=GPU,
    ),
    CleanConfig(
        "ipo against a reference that is named",
        f"--trainer dpo --model MODEL --model-ref TEACHER --data-path pairs.csv {PAIR_COLUMNS} --dpo-loss ipo --dpo-beta 0.1 --lr 1e-6 --epochs 1 "
        "--batch-size 8 --max-completion-length 256",
        "pairs",
        "pairs.csv",
    ),
    CleanConfig(
        "pairs of whole conversations",
        "--trainer dpo --model MODEL --data-path pairs.json --text-column chosen --rejected-text-column rejected --label-smoothing 0.1 --dpo-loss robust "
        "--lr 5e-7 --epochs 1 --batch-size 8",
        "turn pairs",
        "pairs.json",
    ),
    CleanConfig(
        "orpo in one step",
        f"--trainer orpo --model MODEL --data-path pairs.jsonl {PAIR_COLUMNS} --orpo-alpha 0.1 --peft --lr 8e-6 --epochs 3 --batch-size 2 "
        "--gradient-accumulation 4",
        "pairs",
        "pairs.jsonl",
    ),
    CleanConfig(
        "kto on thumbs up and down",
        "--trainer kto --model MODEL --data-path feedback.jsonl --prompt-text-column prompt --text-column completion --kto-beta 0.1 --kto-desirable-weight 1.0 "
        "--lr 5e-7 --epochs 1 --batch-size 8",
        "labelled",
        "feedback.jsonl",
    ),
    CleanConfig(
        "kto on pairs",
        f"--trainer kto --model MODEL --data-path pairs.jsonl {PAIR_COLUMNS} --peft --lora-r 16 --lr 5e-6 --epochs 1 --batch-size 8",
        "pairs",
        "pairs.jsonl",
    ),
    CleanConfig(
        "a reward model",
        "--trainer reward --model MODEL --data-path pairs.jsonl --text-column chosen --rejected-text-column rejected --lr 1e-5 --epochs 1 --batch-size 8 "
        "--valid-split 0.1 --eval-steps 20",
        "pairs",
        "pairs.jsonl",
    ),
    CleanConfig(
        "a judge with three classes",
        "--trainer reward --num-labels 3 --model MODEL --data-path graded.jsonl --prompt-text-column prompt --text-column response --lr 2e-5 --epochs 2 "
        "--batch-size 8",
        "graded",
        "graded.jsonl",
    ),
    # -- reinforcement learning
    CleanConfig(
        "grpo with a reward of two functions",
        "--trainer grpo --model MODEL --data-path maths.jsonl --text-column question --rl-reward-fn rewards.py:right,rewards.py:brief --rl-num-generations 8 "
        "--rl-max-new-tokens 64 --rl-temperature 1.0 --lr 1e-6 --epochs 1 --batch-size 8 --max-grad-norm 0.1 --scheduler cosine",
        "maths",
        "maths.jsonl",
        files={"rewards.py": REWARD + BRIEF},
    ),
    CleanConfig(
        "grpo without a reference, with an adapter",
        "--trainer grpo --model MODEL --data-path prompts.jsonl --rl-reward-fn rewards.py:brief --rl-num-generations 4 --rl-kl-coef 0 "
        "--peft --lora-r 64 --lora-alpha 64 --lr 5e-6 --max-steps 50 --batch-size 4 --rl-mini-batch-size 16 --rl-chunk-size 16",
        "prompts",
        "prompts.jsonl",
        files={"rewards.py": BRIEF},
    ),
    CleanConfig(
        "ppo with a reward model",
        "--trainer ppo --model MODEL --rl-reward-model-path SCORER --data-path prompts.jsonl --text-column prompt --rl-kl-coef 0.05 --rl-gamma 1.0 "
        "--rl-num-ppo-epochs 4 --rl-max-new-tokens 53 --lr 3e-6 --epochs 1 --batch-size 8 --rl-missing-end-penalty 1.0",
        "prompts",
        "prompts.jsonl",
    ),
    CleanConfig(
        "spo on one answer to each prompt",
        "--trainer spo --model MODEL --data-path prompts.jsonl --rl-reward-fn rewards.py:brief --spo-first-answers 4 --lr 1e-6 --epochs 4 --batch-size 8",
        "prompts",
        "prompts.jsonl",
        files={"rewards.py": BRIEF},
    ),
    # -- mixins
    CleanConfig(
        "distillation from a larger model",
        "--trainer sft --model MODEL --data-path train.jsonl --use-distillation --teacher-model TEACHER --distill-temperature 2.0 --distill-alpha 0.7 "
        "--distill-loss reverse_kl --lr 2e-5 --epochs 3 --batch-size 8",
    ),
    CleanConfig(
        "distillation with what the teacher said before",
        "--trainer generic --model MODEL --data-path corpus.txt --use-distillation --teacher-model TEACHER --distill-cache --distill-top-k 32 --lr 2e-5 "
        "--epochs 1 --batch-size 8",
        "text",
        "corpus.txt",
    ),
    CleanConfig(
        "a sweep over the rate and the rank",
        "--trainer sft --model MODEL --data-path train.jsonl --peft --valid-split 0.1 --lr 1e-4 --epochs 1 --batch-size 8 --use-sweep --sweep-n-trials 8 "
        "--sweep-metric eval_loss --sweep-direction minimize --sweep-params space.yaml",
        files={"space.yaml": "lr: {low: 1.0e-5, high: 1.0e-3, log: true}\nlora_r: [8, 16, 32]\n"},
    ),
    CleanConfig(
        "tags of reasoning that count more",
        """--trainer sft --model MODEL --data-path train.jsonl --lr 2e-5 --epochs 3 --batch-size 8 --token-weights '{"<|im_end|>": 2}'""",
    ),
    # -- config files
    CleanConfig(
        "a YAML file with flags as keys",
        "--config run.yaml",
        files={
            "run.yaml": """
# Colours, first try.
trainer: sft
model: MODEL
data_path: train.jsonl
valid_split: 0.1

peft: true
lora_r: 16
lora_alpha: 32
lora_dropout: 0.05
target_modules:
  - q_proj
  - k_proj
  - v_proj
  - o_proj

lr: 2.0e-4
scheduler: cosine
warmup_ratio: 0.05
epochs: 2
batch_size: 4
gradient_accumulation: 4
eval_strategy: epoch
save_strategy: epoch
logging_steps: 10
output_dir: runs/colours
seed: 7
"""
        },
    ),
    CleanConfig(
        "AutoTrain's own file",
        "--config orpo.yml",
        "pairs",
        "pairs.jsonl",
        files={
            "orpo.yml": """
task: llm-orpo
base_model: MODEL
project_name: colours-orpo
log: null
backend: local

data:
  path: pairs.jsonl
  train_split: train
  valid_split: null
  chat_template: chatml
  column_mapping:
    text_column: chosen
    rejected_text_column: rejected
    prompt_text_column: prompt

params:
  block_size: 1024
  model_max_length: 2048
  max_prompt_length: 512
  epochs: 3
  batch_size: 2
  lr: 3e-5
  peft: true
  quantization: int4
  target_modules: all-linear
  optimizer: paged_adamw_8bit
  scheduler: linear
  gradient_accumulation: 4
  mixed_precision: bf16
"""
        },
        machine=GPU,
    ),
    CleanConfig(
        "JSON with another rate on the command line",
        "--config run.json --lr 3e-5",
        files={
            "run.json": '{"trainer": "sft", "model": "MODEL", "data_path": "train.jsonl", "lr": 1e-5, "epochs": 1, "batch_size": 8}'
        },
    ),
    CleanConfig(
        "a class in Python",
        "--config config.py",
        "pairs",
        "pairs.jsonl",
        files={
            "config.py": '''"""Preferences of colours."""

from dataclasses import dataclass


@dataclass
class Base:
    model: str = "MODEL"
    epochs: int = 1
    batch_size: int = 8
    scheduler: str = "cosine"


@dataclass
class Config(Base):
    trainer: str = "dpo"
    data_path: str = "pairs.jsonl"
    prompt_text_column: str = "prompt"
    text_column: str = "chosen"
    rejected_text_column: str = "rejected"
    lr: float = 5e-7
    dpo_beta: float = 0.1
'''
        },
    ),
    CleanConfig(
        "assignments in Python",
        "--config config.py",
        "text",
        "corpus.jsonl",
        files={
            "config.py": "# train on texts\ntrainer = 'generic'\nmodel = 'MODEL'\ndata_path = 'corpus.jsonl'\nblock_size = 256\nlr = 3e-4\n"
            "max_steps = 40\nbatch_size = 4\nweight_decay = 0.1\n"
        },
    ),
    CleanConfig(
        "a file that extends another",
        "--config dpo.yaml",
        "pairs",
        "pairs.jsonl",
        files={
            "base.yaml": "model: MODEL\nepochs: 1\nbatch_size: 8\nlr: 1e-5\nseed: 3\n",
            "dpo.yaml": "extends: base.yaml\ntrainer: dpo\ndata_path: pairs.jsonl\nprompt_text_column: prompt\nrejected_text_column: rejected\nlr: 5e-7\n",
        },
    ),
    CleanConfig(
        "a mixture of two sources",
        "--trainer sft --model MODEL --data-config mix.yaml --lr 2e-5 --epochs 1 --batch-size 8",
        files={
            "alpaca.jsonl": written("alpaca", 200),
            "mix.yaml": "sources:\n  - {name: chat, path: train.jsonl, weight: 0.7}\n  - {name: alpaca, path: alpaca.jsonl, weight: 0.3}\ntotal: 300\n",
        },
    ),
    CleanConfig(
        "sft and then dpo, as stages",
        "--config pipeline.yaml",
        files={
            "pairs.jsonl": written("pairs"),
            "pipeline.yaml": """
output_dir: runs/helper
batch_size: 8
epochs: 1
scheduler: cosine
stages:
  - name: sft
    trainer: sft
    model: MODEL
    data_path: train.jsonl
    lr: 2e-5
  - name: dpo
    trainer: dpo
    model: ${stages.sft}
    data_path: pairs.jsonl
    prompt_text_column: prompt
    rejected_text_column: rejected
    lr: 5e-7
""",
        },
    ),
]
