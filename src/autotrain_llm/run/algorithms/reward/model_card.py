"""The part of a reward model's card on how to use it."""

from __future__ import annotations

from autotrain_llm.planning.plan import Plan


def how_to_score(plan: Plan) -> list[str]:
    """Lines of Markdown: what the model does, and code that scores a text."""
    adapter = bool(plan.adapter and not plan.adapter.merge)
    name = "AutoPeftModelForSequenceClassification" if adapter else "AutoModelForSequenceClassification"
    package = "peft" if adapter else "transformers"
    # An adapter's files record neither the number of labels nor the padding token of its base.
    labels = plan.model.labels or ("score",)
    settings = f", num_labels={len(labels)}, pad_token_id=tokenizer.pad_token_id" if adapter else ""
    is_pairwise = plan.model.labels is None
    what = [
        "This model scores a text and does not generate any: the higher of two scores is that of the better answer. The difference of two",
        "scores is the logarithm of the odds.",
    ]
    if not is_pairwise:
        what = [
            f"This model gives a text {len(labels)} outputs and does not generate any, in this order: {', '.join(labels)}."
        ]
    return [
        *what,
        "",
        "```python",
        *([] if adapter else ["from transformers import AutoModelForSequenceClassification, AutoTokenizer"]),
        *([f"from {package} import {name}", "from transformers import AutoTokenizer"] if adapter else []),
        "",
        'tokenizer = AutoTokenizer.from_pretrained("FOLDER")',
        f'model = {name}.from_pretrained("FOLDER"{settings}).eval()',
        'inputs = tokenizer(["prompt and one answer", "prompt and another"], return_tensors="pt", padding=True)',
        f"scores = model(**inputs).logits{'[:, 0]' if is_pairwise else ''}",
        "```",
        "",
        "Texts are scored as the tokenizer writes them, with nothing added; conversations as",
        "`tokenizer.apply_chat_template(messages, tokenize=False)` writes them.",
        "",
    ]
