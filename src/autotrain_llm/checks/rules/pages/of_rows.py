"""Findings about rows, and about what tokenizers and chat templates make of them."""

from __future__ import annotations

from autotrain_llm.declare.example import (
    ANSWERS,
    CHAT,
    DPO,
    PAIR,
    PAIRS,
    PPO,
    REWARD,
    SFT,
    TWO,
    Example,
    of_flags,
    of_rows,
)

LONG_PROMPT = '{"prompt": "%s", "completion": "Yes"}\n' % ("word " * 40)


def _prose(count: int) -> list[str]:
    """Texts that share no run of words: each word is two syllables, drawn by a generator of remainders."""
    syllables = ["ka", "lo", "mi", "ne", "pu", "ra", "se", "to", "vi", "wo", "xa", "yu", "ze", "bi", "da", "fo"]
    drawn, texts = 1, []
    for _ in range(count):
        words = []
        for _ in range(40):
            drawn = (drawn * 1103515245 + 12345) % 2**31
            words.append(syllables[(drawn >> 12) % 16] + syllables[(drawn >> 20) % 16])
        texts.append(" ".join(words))
    return texts


TEXTS = _prose(30)
STORIES = "".join(f'{{"text": "{text}"}}\n' for text in TEXTS)
NEARLY = "".join(f'{{"text": "{text} So."}}\n' for text in TEXTS[:15])
CALL = (
    '{"tools": [{"type": "function", "function": {"name": "weather"}}], "messages": [{"role": "user", "content": "Rain?"}, '
    '{"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {}}}]}]}\n'
)
SYSTEM = CHAT.replace("[", '[{"role": "system", "content": "Be brief."}, ')
FOUR_TURNS = CHAT.replace("]", ', {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "See you"}]')
STRICT = '{% for m in messages %}{% if m.role == "system" %}{{ raise_exception("no system turn") }}{% endif %}{{ m.content }}{% endfor %}'
UNSYSTEMATIC = '{% for m in messages if m.role != "system" %}{{ m.content }}{{ eos_token }}{% endfor %}'
SHOUTING = "{% for m in messages %}{{ m.role }}: {{ m.content if loop.last else m.content | upper }}{{ eos_token }}{% endfor %}"
SILENT = "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
THOUGHTLESS = '{% for m in messages %}{{ m.role }}: {{ m.content.split("</think>")[-1] }}{{ eos_token }}{% endfor %}'
THOUGHTFUL = CHAT.replace("Hello", "<think>A greeting.</think>Hello")
MARKED = '{"text": "<|im_start|>user\\nHi<|im_end|>"}\n{"text": "<|im_start|>user\\nBye<|im_end|>"}\n'
TWO_CONVERSATIONS = (
    '{"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], '
    '"rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "No"}]}\n'
)
ALIKE = PAIR.replace("Hello", "What a fine morning it is today, my friend").replace(
    "No", "What a fine morning it is today, you fool"
)

PUTS_A_TOKEN_FIRST = (
    '{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, '
    '{"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, '
    '{"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": '
    '{"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}}}'
)

EXAMPLES: dict[str, Example] = {
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
    "D132": of_rows("This is the first text.\nThis is one more.\n", "text\nThis is the first text.\n", name="rows.csv"),
    "D133": of_rows(
        CHAT[:-3] + ', {"role": "user", "content": "And?"}]}\n' + CHAT, CHAT, flags=" --chat-template vicuna"
    ),
    "D134": of_flags(
        "--eval-dataset-path held_out.jsonl",
        "--eval-dataset-path held_out.jsonl",
        CHAT,
        wrong="""echo '{"text": "Three."}' > held_out.jsonl""",
        right="""echo '{"prompt": "Bye", "completion": "See you"}' > held_out.jsonl""",
    ),
    "D135": of_rows(
        '{"prompt": "Hi", "completion": "Hello", "label": true}\n' * 2,
        '{"prompt": "Hi", "completion": "Hello", "label": true}\n{"prompt": "Hi", "completion": "No", "label": false}\n',
        SFT.replace("sft", "kto").replace("1e-4", "5e-7"),
    ),
    "D136": of_flags(f"--chat-template '{UNSYSTEMATIC}'", "--chat-template chatml", SYSTEM),
    "D137": of_rows('{"text": "One.", "text": "Two."}\n', '{"text": "One.", "other": "Two."}\n'),
    "D138": of_rows(TWO, "One.\nTwo.\n", name="rows.txt"),
    "D164": of_rows('{"text": "caf\\ufffd"}\n' + TWO, '{"text": "caf\\u00e9"}\n' + TWO),
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
    "D151": of_flags("--max-seq-length 16", "--max-seq-length 512", '{"text": "%s"}\n' % ("word " * 40)),
    "D152": of_flags(
        "--max-seq-length 16", "--max-seq-length 512", LONG_PROMPT + '{"prompt": "Hi", "completion": "Hello"}\n'
    ),
    "D153": of_rows(TWO * 10 + '{"text": "%s"}\n' % ("word " * 4000)),
    "D155": of_flags("--trainer generic --no-add-eos-token", "--trainer generic"),
    "D156": of_flags("--max-seq-length 16", "--max-seq-length 512", LONG_PROMPT),
    "D163": of_rows('{"prompt": "Hi", "chosen": "No", "rejected": "Hello"}\n' + PAIRS, PAIRS, DPO),
    "D166": of_rows('{"text": "Write to anna.berg@posteo.de."}\n' + TWO, flags=" --check-secrets"),
    "D102": Example(SFT + "rows.parquet", SFT + "rows.jsonl", wrong="echo 'PAR1 and no more' > rows.parquet"),
    "D121": of_flags(
        "--eval-dataset-path held_out.jsonl",
        "--eval-dataset-path held_out.jsonl",
        wrong="touch held_out.jsonl",
        right="""echo '{"text": "Three."}' > held_out.jsonl""",
    ),
    "D126": Example(SFT + "somebody/rows --offline", SFT + "rows.jsonl --offline"),
    "D128": of_rows('{"chosen": "Yes", "rejected": "No"}\n', PAIRS, SFT.replace("sft", "kto")),
    "D131": of_flags(
        "--chat-template vicuna",
        "--chat-template '{% for m in messages %}{{ m }}{{ eos_token }}{% endfor %}'",
        CALL,
    ),
    "D140": Example(
        SFT.replace("MODEL", "base") + "rows.jsonl",
        SFT.replace("MODEL", "base") + "rows.jsonl --chat-template chatml",
        CHAT,
        CHAT,
        before="cp -r MODEL base\nrm base/chat_template.jinja",
    ),
    "D146": of_rows(
        CHAT + SYSTEM, CHAT, flags=" --chat-template strict.jinja", before=f"echo '{STRICT}' > strict.jinja"
    ),
    "D148": of_flags(f"--chat-template '{SHOUTING}'", "--chat-template chatml", FOUR_TURNS),
    "D149": Example(
        SFT.replace("MODEL", "starts") + "rows.jsonl",
        SFT.replace("MODEL", "starts") + "rows.jsonl",
        '{"text": "<|endoftext|>One."}\n' + TWO,
        before=f'cp -r MODEL starts\nsed -i.old \'s/"post_processor": null/"post_processor": {PUTS_A_TOKEN_FIRST}/\' starts/tokenizer.json',
    ),
    "D150": of_rows('{"text": "One.<|endoftext|>"}\n' + TWO, flags=" --add-eos-token"),
    "D157": of_flags("--no-add-eos-token"),
    "D160": Example(
        SFT.replace("MODEL", "changed") + "rows.jsonl",
        SFT + "rows.jsonl",
        wrong="cp -r MODEL changed\necho '{' > changed/tokenizer.json",
    ),
    "D161": of_rows(STORIES + NEARLY, STORIES),
    "D162": of_flags(
        "--eval-dataset-path held_out.jsonl",
        "--eval-dataset-path held_out.jsonl",
        STORIES,
        wrong="tail -n 3 rows.jsonl | sed 's/\"}/ So.\"}/' > held_out.jsonl",
        right="""echo '{"text": "Three."}' > held_out.jsonl""",
    ),
    "D165": of_rows('{"text": "Use AKIAQ3EGRTW5LMNB7XYZ."}\n' + TWO, flags=" --check-secrets"),
    "D167": of_flags("--text-column completion", "--prompt-text-column prompt --text-column completion", ANSWERS),
    "D168": Example(
        SFT.replace("MODEL", "other") + "rows.jsonl",
        SFT + "rows.jsonl",
        MARKED,
        MARKED,
        before="cp -r MODEL other\nsed -i.old 's/<|im_/<|turn_/g' other/*.json*",
    ),
    "D169": of_flags(f"--chat-template '{THOUGHTLESS}'", "--chat-template chatml", THOUGHTFUL),
    "D170": of_rows(CHAT.replace('"Hi"', '"<|im_start|>user\\nHi"'), CHAT, flags=" --chat-template chatml"),
    "D171": of_flags(
        f"--chat-template '{SILENT}'",
        "--chat-template chatml",
        '{"messages": [{"role": "user", "content": "Hi"}]}\n' * 4,
        PPO,
    ),
    "D172": of_rows(
        TWO_CONVERSATIONS.replace("Hi", "Bye", 1),
        TWO_CONVERSATIONS,
        REWARD.replace(" --prompt-text-column prompt", ""),
        flags=" --chat-template chatml",
    ),
    "D173": of_flags("--max-completion-length 8", "--max-completion-length 64", ALIKE, DPO),
    "P728": of_flags(
        "--use-enhanced-eval --eval-metrics rouge --valid-split 1",
        "--use-enhanced-eval --eval-metrics chrf --valid-split 1",
        '{"prompt": "一", "completion": "二"}\n{"prompt": "三", "completion": "四"}\n',
    ),
    "P729": of_flags(
        "--valid-split 1 --eval-strategy steps --eval-steps 500", "--valid-split 1 --eval-strategy steps --eval-steps 1"
    ),
}
