"""Generators of the documents that follow from the declarations: `python -m autotrain_llm.docs write`, and `--check` in CI."""
