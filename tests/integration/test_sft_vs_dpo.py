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
    table = made.stdout.partition("games against a random player:")[2]
    players = [line.split()[0] for line in table.splitlines() if line.split()]
    assert [player for player in players if player in ("before", "sft", "dpo")] == ["before", "sft", "dpo"]
