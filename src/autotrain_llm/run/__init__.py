"""Carry out a plan. The only folder that imports torch, transformers, trl, peft, datasets and optuna.

Importing it switches off what the libraries would send home, before any of them is imported.
"""

import os

from autotrain_llm.run.bitsandbytes_import import install as _let_bitsandbytes_download_nothing

# The Hub's and TRL's telemetry, the libraries' own progress bars, and advice that would break into the progress shown.
for _name in (
    "HF_HUB_DISABLE_TELEMETRY",
    "DISABLE_TELEMETRY",
    "HF_HUB_DISABLE_PROGRESS_BARS",
    "TRL_EXPERIMENTAL_SILENCE",
):
    os.environ[_name] = "1"
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
_let_bitsandbytes_download_nothing()
