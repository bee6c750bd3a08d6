"""Writers of the documents that follow from the declaration: `python -m autotrain_llm.docs write`, and `--check` in CI."""
