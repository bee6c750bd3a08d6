"""`Example`: two commands with the files they need. One triggers a finding and the other does not.

The documentation shows them, and a test runs them as shown, in an empty folder that holds `MODEL`, a valid model; `TEACHER`, another with
the same tokenizer; `SCORER`, a reward model with one score; and `ENCODER`, an encoder.
"""

from __future__ import annotations

from typing import Any

from autotrain_llm.declare.record import Record

LINES, WIDTH = 3, 110  # how much of a file is shown
TWO = '{"text": "One."}\n{"text": "Two."}\n'
CHAT = '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}\n'
ANSWERS = '{"prompt": "Hi", "completion": "Hello"}\n{"prompt": "Bye", "completion": "See you"}\n'
PAIR = '{"prompt": "Hi", "chosen": "Hello", "rejected": "No"}\n'
PAIRS = PAIR + '{"prompt": "Bye", "chosen": "See you", "rejected": "What"}\n'
PROMPTS = '{"prompt": "Hi"}\n{"prompt": "Bye"}\n'
SFT = "llm --trainer sft --model MODEL --lr 1e-4 --epochs 1 --batch-size 2 --data-path "
COLUMNS = " --prompt-text-column prompt --text-column chosen --rejected-text-column rejected"
DPO = f"llm --trainer dpo --model MODEL --lr 5e-7 --epochs 1 --batch-size 2{COLUMNS} --data-path "
REWARD = DPO.replace("dpo", "reward").replace("5e-7", "1e-5")
PPO = "llm --trainer ppo --model MODEL --rl-reward-model-path SCORER --lr 1e-5 --epochs 1 --batch-size 2 --data-path "
NEW = "llm --trainer sft --model scratch:1m --lr 1e-3 --epochs 1 --batch-size 2 --data-path rows.jsonl"

MIXTURE = "llm --trainer sft --model MODEL --lr 1e-4 --epochs 1 --batch-size 2 --data-config mix.yaml"
# Two sources of four texts each, and a mixture of them.
TWO_SOURCES = """for n in 1 2 3 4; do echo "{\\"text\\": \\"One, $n.\\", \\"lang\\": \\"en\\"}"; done > one.jsonl
for n in 1 2 3 4; do echo "{\\"text\\": \\"Two, $n.\\", \\"lang\\": \\"de\\"}"; done > two.jsonl"""
SOURCES = """sources:
  - {name: one, path: one.jsonl, weight: 0.5}
  - {name: two, path: two.jsonl, weight: 0.5}
"""

ADAPTER = """mkdir adapter
echo '{"peft_type": "LORA", "base_model_name_or_path": "MODEL"}' > adapter/adapter_config.json"""
_HEADER = '{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight":{"dtype":"F32","shape":[1,16],"data_offsets":[0,64]}}'
# An adapter with a safetensors file of one matrix: eight bytes with the length of the header, the header, the values.
WITH_ADAPTER = f"""{ADAPTER}
printf '\\{len(_HEADER):03o}\\0\\0\\0\\0\\0\\0\\0%s' '{_HEADER}' > adapter/adapter_model.safetensors
head -c 64 /dev/zero >> adapter/adapter_model.safetensors"""
SWEEP = "--use-sweep --sweep-n-trials 2 --valid-split 1 "
RUN = "mkdir -p runs/mine/checkpoints && echo '{}' > runs/mine/run.json"
CHECKPOINT = (
    f"{RUN}\ncp -r MODEL runs/mine/checkpoints/checkpoint-1\n"
    "cd runs/mine/checkpoints/checkpoint-1\ntouch optimizer.safetensors scheduler.safetensors rng_state.safetensors\necho '{}' > trainer_state.json\ncd ../../../.."
)
TWO_PROCESSES = "torchrun --nproc-per-node 2 -m autotrain_llm "


class Example(Record):
    """`refuses` and `accepts` are the commands without `autotrain`, after any environment variables.

    The file `name` holds `rows` for the first and `good` for the second. `before` are shell lines before both, `wrong` and `right` those before
    one of them. `on` and `on_right` name the machine or state that a command needs. Commands are checked, as with `--dry-run`; if `runs` is
    set, they are executed.
    """

    refuses: str
    accepts: str
    rows: str = TWO
    good: str = TWO
    name: str = "rows.jsonl"
    encoding: str = "utf-8"
    before: str = ""
    wrong: str = ""
    right: str = ""
    on: str = ""
    on_right: str = ""
    runs: bool = False

    def shown(self) -> str:
        """Both commands with their shell lines, and their files unless these are the usual rows."""
        same = self.rows == self.good and self.encoding == "utf-8"
        for_both = [_lines(self.rows, self.name)] if same and self.rows != TWO else []
        first = [] if same else [_lines(self.rows, self.name)]
        second = [] if same else [_lines(self.good, self.name)]
        return "\n".join(
            [
                *for_both,
                *filter(None, [self.before]),
                _heading("triggers it", self.on),
                *filter(None, [*first, self.wrong]),
                typed(self.refuses),
                _heading("does not", self.on_right),
                *filter(None, [*second, self.right]),
                typed(self.accepts),
            ]
        )


def typed(command: str) -> str:
    """A command as it is typed: `autotrain` is inserted after environment variables; torchrun names it already."""
    words = command.split(" ")
    first = next(index for index, word in enumerate(words) if "=" not in word.split("/")[0] or word.startswith("-"))
    return command if words[first] == "torchrun" else " ".join([*words[:first], "autotrain", *words[first:]])


def _heading(what: str, where: str) -> str:
    return f"# {what}, {where}" if where else f"# {what}"


def _lines(text: str, name: str) -> str:
    """The first lines of a file as shell comments."""
    lines = text.replace("\ufeff", "<BOM>").splitlines() or ["(empty)"]
    beginning = [line if len(line) <= WIDTH else f"{line[:WIDTH]}…" for line in lines[:LINES]]
    more = [f"… ({len(lines)} lines)"] if len(lines) > LINES else []
    return "\n".join(f"#   {name}: {line}" for line in [*beginning, *more])


def of_rows(
    rows: str, good: str = TWO, command: str = SFT, name: str = "rows.jsonl", flags: str = "", **more: Any
) -> Example:
    """The same command on two files."""
    full = f"{command}{name}{flags}"
    return Example(full, full, rows, good, name, **more)


def of_flags(refused: str, accepted: str = "", rows: str = TWO, command: str = SFT, **more: Any) -> Example:
    """Two commands on the same file."""
    start = f"{command}rows.jsonl "
    return Example((start + refused).rstrip(), (start + accepted).rstrip(), rows, rows, **more)


def of_model(wrong: str, right: str = "MODEL") -> Example:
    """The same command with two models."""
    return Example(SFT.replace("MODEL", wrong) + "rows.jsonl", SFT.replace("MODEL", right) + "rows.jsonl")


def of_mixture(wrong: str, right: str = SOURCES, before: str = TWO_SOURCES, flags: str = "") -> Example:
    """The same command with two mixtures."""
    command = MIXTURE + flags
    return Example(command, command, wrong, right, "mix.yaml", before=before)


def of_config(wrong: str, right: str) -> Example:
    return Example("llm --config run.yaml", "llm --config run.yaml", wrong, right, "run.yaml")


def of_python(wrong: str, right: str) -> Example:
    """The same command with two Python configs."""
    return Example("llm --config run.py", "llm --config run.py", wrong, right, "run.py")


# ---- machines, and modified models


def without_gpu(wrong: str, right: str = "", rows: str = TWO, command: str = SFT) -> Example:
    """Two commands on a machine whose GPUs are hidden."""
    return of_flags(wrong, right, rows, "CUDA_VISIBLE_DEVICES= " + command)


def where(machine: str, wrong: str, right: str = "", rows: str = TWO) -> Example:
    """Two commands on the same machine."""
    return of_flags(wrong, right, rows, on=machine, on_right=machine)


def of_copy(change: str, wrong: str = "", right: str | None = None, rows: str = TWO, command: str = SFT) -> Example:
    """The same command on a model and on a modified copy."""
    refuses = f"{command.replace('MODEL', 'changed')}rows.jsonl {wrong}".rstrip()
    accepts = f"{command}rows.jsonl {wrong if right is None else right}".rstrip()
    return Example(refuses, accepts, rows, rows, wrong=f"cp -r MODEL changed\n{change}")


def of_config_key(old: str, new: str, wrong: str = "", rows: str = TWO, command: str = SFT) -> Example:
    """The same command on a model and on a copy with a modified config.json."""
    return of_copy(f"sed -i.old 's/{old}/{new}/' changed/config.json", wrong, None, rows, command)


def of_adapter(wrong: str, right: str = "") -> Example:
    """The same command on two adapters, made by these shell lines."""
    command = SFT.replace("MODEL", "./adapter") + "rows.jsonl --peft"
    return Example(command, command, wrong=wrong, right=right or WITH_ADAPTER)


def of_scorer(change: str, flags: str = "", rows: str = PROMPTS) -> Example:
    """The same command with a reward model and with a modified copy."""
    refuses, accepts = (f"{PPO.replace('SCORER', name)}rows.jsonl {flags}".rstrip() for name in ("judge", "SCORER"))
    return Example(refuses, accepts, rows, rows, wrong=f"cp -r SCORER judge\n{change}")
