"""`python -m autotrain_llm` is the same program as `autotrain`."""

from __future__ import annotations

import sys

from autotrain_llm.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
