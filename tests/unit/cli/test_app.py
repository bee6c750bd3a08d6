"""`autotrain app`: what the words after it mean."""

from __future__ import annotations

import pytest

from autotrain_llm.cli.app import Options, read_options


def test_flags_and_folders_are_read_in_any_order():
    assert read_options(["runs", "--port=8080", "--no_browser", "data"]) == Options(
        folders=("runs", "data"), port=8080, browser=False
    )


@pytest.mark.parametrize("words", [["--format", "yaml"], ["--format=sarif"], ["--format"]])
def test_a_format_is_text_or_json(words):
    (fault,) = read_options(words).findings
    assert fault.code == "P303" and fault.message.startswith("--format must be one of text, json")
    assert read_options(["--format=json"]).json and not read_options(["--format", "text"]).json


@pytest.mark.parametrize("port", ["0", "65536", "-1", "²", "http", ""])
def test_a_port_is_a_number(port):
    (fault,) = read_options([f"--port={port}"]).findings
    assert fault.message.startswith("--port must be a number up to 65535")


def test_a_switch_may_have_a_value():
    assert read_options(["--no-browser=false", "--dry-run=true"]) == Options(dry_run=True)
    assert not read_options(["--no-browser=yes"]).browser
    (fault,) = read_options(["--no-browser=maybe"]).findings
    assert fault.code == "P303" and "is a switch, got 'maybe'" in fault.message
