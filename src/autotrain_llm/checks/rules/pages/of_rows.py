"""Findings about rows that rules on flags make; the rules of data/rules/ have their examples beside them."""

from __future__ import annotations

from autotrain_llm.data.codes import RULES
from autotrain_llm.declare.example import Example, of_flags

EXAMPLES: dict[str, Example] = {
    **{code: rule.example for code, rule in RULES.items() if rule.example is not None},
    "P728": of_flags(
        "--use-enhanced-eval --eval-metrics rouge --valid-split 1",
        "--use-enhanced-eval --eval-metrics chrf --valid-split 1",
        '{"prompt": "一", "completion": "二"}\n{"prompt": "三", "completion": "四"}\n',
    ),
    "P729": of_flags(
        "--valid-split 1 --eval-strategy steps --eval-steps 500", "--valid-split 1 --eval-strategy steps --eval-steps 1"
    ),
}
