"""Findings about the command, its config file and the files it writes, that are more than two lists of flags."""

from __future__ import annotations

from autotrain_llm.declare.example import NEW, PPO, SFT, Example, of_config, of_flags
from autotrain_llm.version import VERSION

SWEEP = "--use-sweep --sweep-n-trials 2 --valid-split 1 "
KEPT = f"autotrain {SFT}rows.jsonl --dry-run --save-plan plan.json"
RUN = "mkdir -p runs/mine/checkpoints && echo '{}' > runs/mine/run.json"
CHECKPOINT = (
    f"{RUN}\ncp -r MODEL runs/mine/checkpoints/checkpoint-1\n"
    "echo '{}' > runs/mine/checkpoints/checkpoint-1/trainer_state.json\ntouch runs/mine/checkpoints/checkpoint-1/optimizer.pt"
)
GOOD_SCORE = "def score(completions, **rest): return [1.0 for text in completions]"
BAD_SCORE = "def score(completions, **rest): return [text.split()[0] for text in completions]"

EXAMPLES: dict[str, Example] = {
    "P102": of_flags("--warmup-steps 10", "--warmup-ratio 0.1"),
    "P103": Example(NEW.replace("sft", "distillation"), NEW),
    "P104": of_flags("--colour red"),
    "P105": of_config("dry_run: true\n", "trainer: sft\n"),
    "P106": of_config("lr: [1e-4\n", "lr: 1e-4\n"),
    "P110": of_flags("--advanced"),
    "P111": of_flags("--optimizer adamw_hf", "--optimizer adamw_torch"),
    "P114": Example(f"{NEW} --fix --write-config nowhere/fixed.yaml", f"{NEW} --fix --write-config fixed.yaml"),
    "P115": Example("llm --plan rows.jsonl", NEW),
    "P120": of_flags("--seed", "--seed 7"),
    "P121": of_flags("stray", "--seed 7"),
    "P122": Example("tain", "--version"),
    "P123": of_flags("--interactive"),
    "P124": Example("llm --explain P999", "llm --explain P101"),
    "P125": Example("report nowhere", "report --help"),
    "P126": of_flags("--seed 1 --seed 2", "--seed 1 --seed 1"),
    "P127": of_config("seed: ${NO_SUCH_SEED}\n", "seed: 7\n"),
    "P118": Example("check", "check rows.jsonl"),
    "P302": of_flags("--seed seven", "--seed 7"),
    "P116": Example("llm --plan plan.json --lr 3e-4", "llm --plan plan.json", before=KEPT),
    "P117": Example(
        "llm --plan plan.json", "llm --plan plan.json", before=KEPT, wrong='echo \'{"text": "Three."}\' >> rows.jsonl'
    ),
    "P201": Example("llm --trainer sft --lr 1e-3", NEW),
    "P338": of_flags("--push-to-hub --token sk-abc", "--push-to-hub --token hf_abc"),
    "P339": Example(
        f"{SFT.replace('--epochs 1', '--epochs 4')}rows.jsonl --eval-dataset-path held_out.jsonl --early-stopping-patience 5",
        f"{SFT.replace('--epochs 1', '--epochs 4')}rows.jsonl --eval-dataset-path held_out.jsonl --early-stopping-patience 2",
        before="""echo '{"text": "Three."}' > held_out.jsonl""",
    ),
    "P607": of_flags(
        "--use-sweep --sweep-n-trials 2 --max-seq-length 16 --eval-dataset-path held_out.jsonl",
        "--use-sweep --sweep-n-trials 2 --max-seq-length 16 --eval-dataset-path held_out.jsonl",
        wrong="""yes word | head -n 40 | paste -s -d ' ' - | sed 's/.*/{"prompt": "&", "completion": "Yes"}/' > held_out.jsonl""",
        right="""echo '{"prompt": "Well?", "completion": "Yes"}' > held_out.jsonl""",
    ),
    "P615": of_flags(
        SWEEP + '--sweep-params \'{"mixed_precision": ["fp16", "fp32"]}\'',
        SWEEP + '--sweep-params \'{"mixed_precision": ["bf16", "fp32"]}\'',
    ),
    "P616": of_flags(
        SWEEP + "--sweep-params '{\"max_seq_length\": [64, 4096]}'",
        SWEEP + "--sweep-params '{\"max_seq_length\": [64, 128]}'",
    ),
    "P617": of_flags(
        SWEEP + "--sweep-params '{\"lr\": [2, 10]}'",
        SWEEP + "--sweep-params '{\"lr\": [1e-5, 1e-4]}'",
    ),
    "P610": of_flags(SWEEP + "--sweep-storage redis://host", SWEEP + "--sweep-storage sqlite:///s.db"),
    "P731": Example(
        PPO.replace("--rl-reward-model-path SCORER", "--rl-reward-fn score.py:score") + "rows.jsonl",
        PPO.replace("--rl-reward-model-path SCORER", "--rl-reward-fn score.py:score") + "rows.jsonl",
        '{"prompt": "Hi"}\n{"prompt": "Bye"}\n',
        '{"prompt": "Hi"}\n{"prompt": "Bye"}\n',
        wrong=f"echo '{BAD_SCORE}' > score.py",
        right=f"echo '{GOOD_SCORE}' > score.py",
    ),
    "P805": Example(
        f"{PPO}rows.jsonl --gradient-accumulation 2 --rl-mini-batch-size 32",
        f"{PPO}rows.jsonl --rl-mini-batch-size 32",
        '{"prompt": "Hi"}\n{"prompt": "Bye"}\n',
        '{"prompt": "Hi"}\n{"prompt": "Bye"}\n',
    ),
    "E401": of_flags("--output-dir runs/mine", "--output-dir runs/mine --overwrite", before=RUN),
    "E402": of_flags("--output-dir MODEL", "--output-dir runs/mine"),
    "E403": of_flags("--output-dir rows.jsonl", "--output-dir runs/mine"),
    "E412": of_flags(
        "--push-to-hub --token hf_abcdefghijkl --output-dir 'my model'",
        "--push-to-hub --token hf_abcdefghijkl --output-dir my-model",
    ),
    "E411": of_flags("--cache-dir rows.jsonl", "--cache-dir cache"),
    "E404": of_flags(
        "--output-dir runs/mine", "--output-dir runs/other", on="while another process writes to runs/mine"
    ),
    "E405": of_flags(
        "--resume --output-dir runs/mine",
        "--resume --output-dir runs/mine",
        wrong="mkdir -p runs/mine",
        right=CHECKPOINT,
    ),
    "E406": of_flags(
        "--resume --output-dir runs/mine",
        "--resume --output-dir runs/mine",
        before=CHECKPOINT,
        wrong="""echo '{"plan": {"parameters": {"trainer": {"value": "dpo"}}}}' > runs/mine/run.json""",
        right="""echo '{"plan": {"parameters": {"trainer": {"value": "sft"}}}}' > runs/mine/run.json""",
    ),
    "E413": of_flags(
        "--resume --output-dir runs/mine",
        "--resume --output-dir runs/mine",
        before=CHECKPOINT,
        wrong=f"""echo '{{"data_fingerprint": "of other rows", "versions": {{"autotrain-llm": "{VERSION}"}}}}' > runs/mine/run.json""",
    ),
    "E407": of_flags(SWEEP + "--resume --output-dir runs/mine", SWEEP + "--output-dir runs/other", before=RUN),
}
