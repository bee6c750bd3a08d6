"""For findings that are made while reading a command, a model or rows: files and a command that draw one, and what doesn't.

They stand on the finding's page of the documentation, and a test runs them. `MODEL` is a model that is in order.
"""

from __future__ import annotations

from autotrain_llm.declare.record import Record

LINES, WIDTH = 3, 110  # of a file that are shown
SFT = "llm --trainer sft --model MODEL --lr 1e-4 --epochs 1 --batch-size 2 --data-path "
COLUMNS = " --prompt-text-column prompt --text-column chosen --rejected-text-column rejected"
DPO = f"llm --trainer dpo --model MODEL --lr 5e-7 --epochs 1 --batch-size 2{COLUMNS} --data-path "
NEW = "llm --trainer sft --model scratch:1m --lr 1e-3 --epochs 1 --batch-size 2 --data-path rows.jsonl"
TWO = '{"text": "One."}\n{"text": "Two."}\n'
CHAT = '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}\n'
PAIR = '{"prompt": "Hi", "chosen": "Hello", "rejected": "No"}\n'
PAIRS = PAIR + '{"prompt": "Bye", "chosen": "See you", "rejected": "What"}\n'


LONG_PROMPT = '{"prompt": "%s", "completion": "Yes"}\n' % ("word " * 40)


class Example(Record):
    """`refuses` and `accepts` are what stands after `autotrain`; `rows` lies in the file `name` for the one, `good` for the other."""

    refuses: str
    accepts: str
    rows: str = TWO
    good: str = TWO
    name: str = "rows.jsonl"
    encoding: str = "utf-8"

    def shown(self) -> str:
        """Both commands, with the files where they are not the same."""
        same = self.rows == self.good and self.encoding == "utf-8"
        wrong, right = ("", "") if same else (f"{_lines(self.rows, self.name)}\n", f"{_lines(self.good, self.name)}\n")
        beside = f"\n{_lines(self.rows, self.name)}" if same and self.rows != TWO else ""
        return f"# draws it\n{wrong}autotrain {self.refuses}\n# does not\n{right}autotrain {self.accepts}{beside}"


def _lines(text: str, name: str) -> str:
    """The beginning of a file, as it can be shown."""
    lines = text.replace("\ufeff", "<BOM>").splitlines() or ["(empty)"]
    cut = [line if len(line) <= WIDTH else f"{line[:WIDTH]}…" for line in lines[:LINES]]
    more = [f"… ({len(lines)} lines)"] if len(lines) > LINES else []
    return "\n".join(f"#   {name}: {line}" for line in [*cut, *more])


def of_rows(
    rows: str, good: str = TWO, command: str = SFT, name: str = "rows.jsonl", flags: str = "", **more: str
) -> Example:
    """The same command on two files."""
    both = f"{command}{name}{flags}"
    return Example(both, both, rows, good, name, **more)


def of_flags(wrong: str, right: str = "", rows: str = TWO, command: str = SFT) -> Example:
    """Two commands on the same file."""
    start = f"{command}rows.jsonl "
    return Example(start + wrong, (start + right).rstrip(), rows, rows)


def of_model(wrong: str, right: str = "MODEL") -> Example:
    """The same command with two models."""
    return Example(SFT.replace("MODEL", wrong) + "rows.jsonl", SFT.replace("MODEL", right) + "rows.jsonl")


def of_config(wrong: str, right: str) -> Example:
    return Example("llm --config run.yaml", "llm --config run.yaml", wrong, right, "run.yaml")


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
    "P118": Example("check", "check rows.jsonl"),
    "P302": of_flags("--seed seven", "--seed 7"),
    "M101": of_model("''"),
    "M102": of_model("./nowhere"),
    "M103": of_model("rows.jsonl"),
    "M105": of_model("gpt-4"),
    "M108": Example(SFT.replace("MODEL", "somebody/something") + "rows.jsonl --offline", SFT + "rows.jsonl --offline"),
    "M112": of_model("scratch:1k", "scratch:1m"),
    "M111": of_model("scratch:huge", "scratch:1m"),
    "D101": Example(SFT + "./nowhere.jsonl", SFT + "rows.jsonl"),
    "D103": of_rows('{"prompt": "Hi", "chosen": "Hello", "rejected": "Hello"}\n' + PAIRS, PAIRS, DPO),
    "D104": of_rows('{"text": "One."\n{"text": "Two."}\n'),
    "D105": of_rows('{"text": "Größe"}\n', encoding="latin-1"),
    "D106": of_rows("\ufefftext\nOne.\nTwo.\n", "text\nOne.\nTwo.\n", name="rows.csv"),
    "D107": of_rows("text,text\nOne.,Two.\n", "text,other\nOne.,Two.\n", name="rows.csv"),
    "D108": of_flags("--train-split test"),
    "D109": of_flags("--text-column txet", "--text-column text"),
    "D110": of_rows('{"a": 1, "b": 2}\n'),
    "D111": of_rows('{"input_ids": [1, 2, 3]}\n'),
    "D112": of_rows(
        '{"id": 1, "text": "One."}\n{"id": "b", "text": "Two."}\n',
        '{"id": 1, "text": "One."}\n{"id": 2, "text": "Two."}\n',
    ),
    "D113": of_rows('{"text": null}\n' + TWO),
    "D114": of_rows('{"text": ""}\n' + TWO),
    "D115": of_rows('{"text": "One.", "n": 1}\n', '{"text": "One.", "n": "1"}\n', flags=" --text-column n"),
    "D116": of_rows(CHAT.replace("assistant", "robot"), CHAT, flags=" --chat-template chatml"),
    "D117": of_rows(
        '{"messages": [{"role": "user"}, {"role": "assistant", "content": "Hello"}]}\n' + CHAT,
        CHAT,
        flags=" --chat-template chatml",
    ),
    "D118": of_rows(""),
    "D119": of_flags(
        "--text-column rejected --rejected-text-column chosen",
        "--text-column chosen --rejected-text-column rejected",
        PAIRS,
        DPO.replace(" --text-column chosen --rejected-text-column rejected", ""),
    ),
    "D120": of_rows('{"prompt": "Hi", "chosen": "Hi Hello", "rejected": "Hi No"}\n', PAIR, DPO),
    "D122": of_flags("--eval-dataset-path rows.jsonl", "--valid-split 0.5"),
    "D123": of_rows('{"text": "One."}\n' * 40),
    "D124": of_rows(
        '{"prompt": "Hi", "chosen": [{"role": "assistant", "content": "Hello"}], "rejected": [{"role": "assistant", "content": "No"}]}\n',
        PAIRS,
        DPO,
        flags=" --chat-template chatml",
    ),
    "D125": of_rows("text\nOne., and more\n", "text\nOne.\n", name="rows.csv"),
    "D127": of_rows(
        CHAT.replace('"Hi"', '[{"type": "image", "url": "cat.png"}]') + CHAT, CHAT, flags=" --chat-template vicuna"
    ),
    "D129": of_flags("--valid-split 5", "--valid-split 1"),
    "D130": of_rows('{"text": "\\ud83d"}\n' + TWO),
    "D141": of_flags("--chat-template chatlm", "--chat-template chatml", CHAT),
    "D142": of_flags("--chat-template none", "--chat-template chatml", CHAT),
    "D143": of_flags("--chat-template chatml"),
    "D144": of_flags("--response-only-loss"),
    "D145": of_flags("--chat-template llama-3", "--chat-template tokenizer", CHAT),
    "D147": of_rows(
        '{"messages": [{"role": "user", "content": "Hi"}]}\n' + CHAT, CHAT, flags=" --chat-template vicuna"
    ),
    "D152": of_flags(
        "--max-seq-length 16", "--max-seq-length 512", LONG_PROMPT + '{"prompt": "Hi", "completion": "Hello"}\n'
    ),
    "D153": of_rows(TWO * 10 + '{"text": "%s"}\n' % ("word " * 4000)),
    "D155": of_flags("--trainer generic --no-add-eos-token", "--trainer generic"),
    "D156": of_flags("--max-seq-length 16", "--max-seq-length 512", LONG_PROMPT),
    "D163": of_rows('{"prompt": "Hi", "chosen": "No", "rejected": "Hello"}\n' + PAIRS, PAIRS, DPO),
    "D166": of_rows('{"text": "Write to anna.berg@posteo.de."}\n' + TWO, flags=" --check-secrets"),
    "D151": of_flags("--max-seq-length 16", "--max-seq-length 512", '{"text": "%s"}\n' % ("word " * 40)),
}
