"""Fixes that the model or the language of the rows makes impossible are not offered."""

from __future__ import annotations

import pytest

from autotrain_llm import check
from support.rows import write_rows


@pytest.mark.parametrize("trainer", ["sft", "dpo"])
@pytest.mark.parametrize("words", [1500, 5000])
def test_no_limit_is_offered_beyond_the_context_of_the_model(trainer, words, light_llama, tmp_path):
    """The context is 2048 tokens, and the default limit 1024."""
    long, short = "word " * words, "Well?"
    answers = {"completion": "Yes"} if trainer == "sft" else {"chosen": "Yes", "rejected": "No"}
    rows = [{"prompt": f"{long if n == 1 else short} {n}", **answers} for n in range(6)]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    columns = {} if trainer == "sft" else {"prompt_text_column": "prompt", "rejected_text_column": "rejected"}
    same = {
        "trainer": trainer,
        "model": str(light_llama),
        "data_path": str(path),
        "lr": 1e-5,
        "epochs": 1,
        "batch_size": 1,
    }
    found = [
        one for one in check(**same, **columns, block_size=64, max_prompt_length=32) if one.code in ("D151", "D152")
    ]
    fixes = [str(one.fix) for one in found]
    assert fixes and all(int(fix.split()[1]) <= 2048 for fix in fixes if fix.startswith("--")), fixes
    if words == 5000:
        assert any("the model's context is 2048 tokens" in fix for fix in fixes)


@pytest.mark.parametrize(
    ("answer", "metrics", "wrong"),
    [
        ("今天天氣很好，我們去公園。", "rouge,bleu", {"rouge", "bleu"}),
        ("今天天氣很好，我們去公園。", "bleu", {"bleu"}),
        ("Сегодня хорошая погода.", "rouge,bleu", {"rouge"}),
        ("The weather is fine.", "rouge,bleu", set()),
    ],
)
def test_a_metric_that_is_zero_for_a_script_is_replaced_by_one_that_is_not(
    answer, metrics, wrong, light_llama, tmp_path
):
    path = write_rows(tmp_path / "rows.jsonl", [{"prompt": f"Question {n}", "completion": answer} for n in range(20)])
    found = check(
        trainer="sft", model=str(light_llama), data_path=str(path), lr=1e-5, epochs=1, batch_size=1, valid_split=0.2,
        use_enhanced_eval=True, eval_metrics=metrics, eval_max_new_tokens=16,
    )  # fmt: skip
    named = [one for one in found if one.code == "P728"]
    assert {
        name for name in ("rouge", "bleu") if any(f"--eval-metrics {name}" in one.message for one in named)
    } == wrong
    if wrong:
        assert "chrf" in named[0].changes["eval_metrics"] and not wrong & {*named[0].changes["eval_metrics"].split(",")}
