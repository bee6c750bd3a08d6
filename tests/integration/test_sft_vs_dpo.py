"""The example that trains sft and dpo on the same pairs runs as it is."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.fork_server import forked_python
from support.paths import PROJECT


def test_sft_and_dpo_are_compared_on_the_same_pairs(tmp_path: Path) -> None:
    script = PROJECT / "examples" / "sft_vs_dpo" / "compare.py"
    made = subprocess.run(
        [forked_python(), str(script), "--quick", "--output-dir", str(tmp_path)], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    rows = [line.split("|")[1].strip() for line in made.stdout.splitlines() if line.startswith("| ")]
    assert rows == ["model", "---", "before", "sft", "dpo"]
