"""The pictures of README.md, from real output: `make pictures`.

`findings.svg` is what a command with mistakes answers in a terminal of 100 columns. `report.png` is the page of a run in Chromium, if it is installed.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

HERE = Path(__file__).parent
COLUMNS = 100
COMMAND = "llm --trainer sft --model scratch:1m --data-path rows.jsonl --lerning-rate 1e-3 --epochs 1 --batch-size 8 --dpo-beta 0.1"
TRAINING = "llm --trainer sft --model scratch:200k --data-path rows.jsonl --lr 3e-3 --epochs 4 --batch-size 32 --valid-split 0.1 --output-dir run"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def screen_of(command: str, folder: Path) -> str:
    """What a command writes to a terminal, with its colours."""
    terminal, other_end = pty.openpty()
    fcntl.ioctl(other_end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    words = [sys.executable, "-m", "autotrain_llm", *command.split()]
    process = subprocess.Popen(
        words, cwd=folder, env={**variables, "TERM": "xterm"}, stdin=other_end, stdout=other_end, stderr=other_end
    )
    os.close(other_end)
    text = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the command has ended
            break
        if not part:
            break
        text += part
    os.close(terminal)
    process.wait()
    return text.decode().replace("\r\n", "\n")


def write_rows(folder: Path) -> None:
    """Rows of sums."""
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for number in range(600):
            left, right = number % 30, number // 30
            turns = [
                {"role": "user", "content": f"What is {left} plus {right}?"},
                {"role": "assistant", "content": f"It is {left + right}."},
            ]
            file.write(json.dumps({"messages": turns}) + "\n")


def draw_findings(folder: Path) -> None:
    with (folder / "rows.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"messages": [{"role": "assistent", "content": "It is 3."}]}) + "\n")
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), force_terminal=True)  # noqa: PTH123, SIM115
    console.print(Text(f"$ autotrain {COMMAND}"))
    console.print(Text.from_ansi(screen_of(COMMAND, folder)))
    svg = console.export_svg(title="autotrain", theme=MONOKAI)
    # The font is looked for on the reader's machine alone.
    parts = svg.split("@font-face")
    style = parts[0] + "".join(part.partition("}")[2] for part in parts[1:])
    (HERE / "findings.svg").write_text(style, encoding="utf-8")


def draw_report(folder: Path) -> None:
    browser = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if browser is None:
        sys.stderr.write("report.png is left as it is: there is no Chromium\n")
        return
    screen_of(TRAINING, folder)
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1160,900"]
    subprocess.run(
        [browser, *options, f"--screenshot={HERE / 'report.png'}", (folder / "run/report.html").as_uri()], check=True
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        write_rows(Path(name))
        draw_report(Path(name))
        draw_findings(Path(name))
