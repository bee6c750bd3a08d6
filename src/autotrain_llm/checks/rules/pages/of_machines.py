"""Findings about the machine and what is installed on it, and those that only a run can make."""

from __future__ import annotations

from autotrain_llm.declare.example import ANSWERS, NEW, PPO, SFT, TWO, Example, of_flags

NO_GPU = "CUDA_VISIBLE_DEVICES= "
NO_TOKEN = "HF_TOKEN= HUGGING_FACE_HUB_TOKEN= HF_HOME=nowhere "
NO_LOGIN = "WANDB_API_KEY= WANDB_IDENTITY_TOKEN_FILE= NETRC=nowhere "
TWO_PROCESSES = "torchrun --nproc-per-node 2 -m autotrain_llm "
TWO_GPUS, OLD_GPU = "on a machine with two GPUs", "on a machine with a Tesla T4"
SWEEP = "--use-sweep --sweep-n-trials 1 --valid-split 1"
PROMPTS = '{"prompt": "Hi"}\n{"prompt": "Bye"}\n'
TINY = NEW.replace("1m", "100k") + " --max-seq-length 16"
STUDY = (
    TINY + f" {SWEEP} --sweep-storage sqlite:///study.db --sweep-name ours --sweep-params '{{\"lr\": [1e-3, 1e-4]}}'"
)


def without_gpu(wrong: str, right: str = "", rows: str = TWO, command: str = SFT) -> Example:
    """Two commands on a machine that has no GPU, or hides it."""
    return of_flags(wrong, right, rows, NO_GPU + command)


def where(place: str, wrong: str, right: str = "") -> Example:
    """Two commands on the same machine."""
    return of_flags(wrong, right, on=place, on_right=place)


EXAMPLES: dict[str, Example] = {
    "E511": Example("RANK=3 " + SFT + "rows.jsonl", SFT + "rows.jsonl"),
    "E501": without_gpu("--mixed-precision fp16", "--mixed-precision fp32"),
    "E502": where(OLD_GPU, "--mixed-precision bf16", "--mixed-precision fp16"),
    "E503": without_gpu("--peft --quantization int4", "--peft"),
    "E504": without_gpu("--use-flash-attention-2", "--attn-implementation sdpa"),
    "E505": where("where wandb is not installed", "--log wandb", "--log none"),
    "E506": Example(
        NO_TOKEN + SFT + "rows.jsonl --push-to-hub", "HF_TOKEN=hf_mine " + SFT + "rows.jsonl --push-to-hub"
    ),
    "E507": Example(
        SFT + "rows.jsonl",
        TWO_PROCESSES + SFT + "rows.jsonl --output-dir runs/mine",
        on=TWO_GPUS,
        on_right=TWO_GPUS,
    ),
    "E508": Example(
        SFT + "rows.jsonl --distributed-backend fsdp",
        TWO_PROCESSES + SFT + "rows.jsonl --distributed-backend fsdp --output-dir runs/mine",
        on="on a machine with one GPU",
        on_right=TWO_GPUS,
    ),
    "E509": Example(
        TWO_PROCESSES + SFT + "rows.jsonl",
        TWO_PROCESSES + SFT + "rows.jsonl --output-dir runs/mine",
    ),
    "E510": without_gpu("--rl-generation vllm", "--rl-generation native", PROMPTS, PPO),
    "E521": without_gpu(
        "--use-distillation --teacher-model TEACHER --teacher-quantization int4",
        "--use-distillation --teacher-model TEACHER",
    ),
    "E542": Example(SFT + "rows.jsonl", SFT + "rows.jsonl", on="where the disk is full"),
    "E541": of_flags("--target-memory 1MiB", "--target-memory 24GiB"),
    "P611": Example(
        NO_LOGIN + SFT + f"rows.jsonl {SWEEP} --sweep-backend wandb",
        "WANDB_API_KEY=mine " + SFT + f"rows.jsonl {SWEEP} --sweep-backend wandb",
        on="where wandb is installed",
        on_right="where wandb is installed",
    ),
    "P613": Example(
        TWO_PROCESSES + SFT + f"rows.jsonl {SWEEP} --output-dir runs/mine",
        SFT + f"rows.jsonl {SWEEP} --output-dir runs/mine",
    ),
    "P721": of_flags(
        "--use-enhanced-eval --eval-metrics bleu --valid-split 1",
        "--use-enhanced-eval --eval-metrics exact_match --valid-split 1",
        ANSWERS,
        on="where sacrebleu is not installed",
        on_right="where sacrebleu is not installed",
    ),
    "P723": of_flags(
        "--use-enhanced-eval --eval-benchmark hellaswag --valid-split 1",
        "--use-enhanced-eval --valid-split 1",
        ANSWERS,
        on="where lm-evaluation-harness is not installed",
        on_right="where lm-evaluation-harness is not installed",
    ),
    "P330": Example(
        "llm --inference --model MODEL --prompts nowhere.txt --max-new-tokens 2",
        "llm --inference --model MODEL --prompts prompts.txt --max-new-tokens 2",
        before="echo Hi > prompts.txt",
        runs=True,
    ),
    "E408": Example(
        STUDY.replace("[1e-3, 1e-4]", "[1e-3, 1e-5]"),
        STUDY.replace("[1e-3, 1e-4]", "[1e-3, 1e-5]").replace("ours", "another"),
        before=f"autotrain {STUDY}",
        runs=True,
    ),
    "E409": Example(
        f"{TINY} {SWEEP} --sweep-storage sqlite:///nowhere/study.db",
        f"{TINY} {SWEEP} --sweep-storage sqlite:///study.db",
        runs=True,
    ),
    "E410": Example(
        f"{TINY} {SWEEP} --eval-strategy steps --eval-steps 500",
        f"{TINY} {SWEEP} --eval-strategy steps --eval-steps 1",
        runs=True,
    ),
    "R101": Example(f"{TINY} --max-steps 3 --lr 1e38", f"{TINY} --max-steps 3", runs=True),
    "R102": Example(TINY, TINY, on="where something fails that nobody foresaw", runs=True),
}
