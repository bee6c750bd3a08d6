"""The app in a browser: from an empty folder to a finished run, by keyboard alone, on a phone, in the dark, and for who does not see it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.fork_server import forked_python
from support.rows import questions, write_rows

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("Chromium is not installed (apt-get install chromium)", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (the extra [test])")
pytest.importorskip("starlette", reason="the extra [app] is not installed")

SECOND = 1000
playwright.expect.set_options(timeout=150 * SECOND)
PHONE = {"width": 390, "height": 844}
FORM = {"model": "scratch:100k", "lr": "1e-2", "epochs": "2", "batch_size": "8", "valid_split": "0.1"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--headless", "--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    write_rows(folder / "rows.jsonl", questions(64))
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """The address that the command prints. What it starts is forked, as it is."""
    words = [forked_python(), "-m", "autotrain_llm", "app", "--no-browser"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


def expect(page: Any, selector: str) -> Any:
    """Assertions that wait: the policy of the pages allows no other text to be run as a script."""
    return playwright.expect(page.locator(selector))


class Visit:
    """A page of the app. `requests` are the addresses that it loads from, `faults` what its script and its policy complain about."""

    def __init__(self, browser: Any, address: str, **settings: Any) -> None:
        self.home = address.partition("/?")[0]
        self.context = browser.new_context(**settings)
        self.page = self.context.new_page()
        self.page.set_default_timeout(150 * SECOND)
        self.requests: list[str] = []
        self.faults: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda fault: self.faults.append(str(fault)))
        self.page.on("console", self._complain)
        self.page.on("dialog", lambda dialog: dialog.accept())
        self.page.goto(address)
        self.page.wait_for_url(lambda url: "token" not in url)  # the page that the address leads on to

    def _complain(self, said: Any) -> None:
        if said.type == "error" and "frame is sandboxed" not in said.text:  # a report's own script is left out
            self.faults.append(said.text)

    def goto(self, path: str) -> Any:
        self.page.goto(self.home + path)
        return self.page


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Any]:
    visits: list[Visit] = []

    def begin(**settings: Any) -> Visit:
        visits.append(Visit(browser, address, **settings))
        return visits[-1]

    yield begin
    for each in visits:
        assert [
            fault for fault in each.faults if "frame is sandboxed" not in fault
        ] == []  # a report's own script is left out
        assert all(url.startswith((each.home, "data:")) for url in each.requests), "another host was asked"
        each.context.close()


@pytest.fixture(scope="module")
def finished(browser: Any, address: str, folder: Path) -> str:
    """From an empty form to a finished run; its folder. What is on the pages in between is asserted here."""
    visit = Visit(browser, address)
    page = visit.goto("/compose")
    page.set_input_files("#file", folder / "rows.jsonl")
    expect(page, "#f-data_path").to_have_value("uploads/rows.jsonl")
    for name, text in {**FORM, "lr": "1e-2,"}.items():
        page.fill(f"#f-{name}", text)
    page.click("[data-found=lr] button:has-text('Apply')")
    expect(page, "#f-lr").to_have_value("0.01")
    page.wait_for_selector("#start:not([disabled])")
    assert "comes first." in page.inner_text(".rows mark >> nth=0")
    assert "--data-path uploads/rows.jsonl" in page.inner_text("#command") and "steps" in page.inner_text("#plan")
    page.click("#start")
    page.wait_for_url("**/run?folder=**")
    page.wait_for_selector(".badge:has-text('Finished')")
    page.wait_for_selector("iframe.report")
    assert page.locator("figure polyline").count() >= 2
    assert visit.faults == []
    visit.context.close()
    return "runs/sft-scratch-100k-1"


def test_a_run_is_composed_from_nothing_started_followed_and_its_report_shown(finished, folder, visit):
    run = json.loads((folder / finished / "run.json").read_text())
    assert run["status"] == "ok" and run["plan"]["parameters"]["lr"]["value"] == 0.01
    page = visit().goto(f"/run?folder={finished}")
    frame = page.frame_locator("iframe.report")
    assert frame.locator("h1").inner_text() == Path(finished).name
    assert (
        page.evaluate("document.querySelector('iframe').contentDocument") is None
    )  # of another origin, without scripts


def test_what_is_entered_is_kept_while_the_tab_is_open(visit):
    page = visit().goto("/compose")
    page.select_option("#f-trainer", "dpo")
    page.wait_for_selector("#f-rejected_text_column")
    page.fill("#f-lr", "3e-7")
    expect(page, "#command").to_contain_text("--lr 3e-7")
    page.click("a[href='/runs']")
    page.wait_for_url("**/runs")
    page.go_back()
    expect(page, "#f-lr").to_have_value("3e-7")
    expect(page, "#f-trainer").to_have_value("dpo")
    page.click("#empty")
    expect(page, "#f-lr").to_have_value("")


def test_a_page_says_that_the_app_has_ended_and_that_another_was_started(browser, tmp_path):
    words = [forked_python(), "-m", "autotrain_llm", "app", "--no-browser"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path) as first:
        assert first.stdout is not None
        address = first.stdout.readline().split()[-1]
        page = Visit(browser, address).goto("/compose")
        expect(page, "#state").not_to_have_text("Checking …")
        first.kill()
        first.wait()
    page.fill("#f-lr", "1e-4")
    expect(page, "#state").to_contain_text("does not answer")
    port = re.search(r":(\d+)/", address)[1]
    with subprocess.Popen(
        [*words, "--port", port], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path
    ) as second:
        assert second.stdout is not None
        second.stdout.readline()
        page.fill("#f-lr", "2e-4")
        expect(page, "#state").to_contain_text("was started again")
        second.kill()


def test_a_model_is_tried_beside_another(finished, visit):
    page = visit().goto(f"/try?folder={finished}")
    page.fill("#t-against", finished)
    page.fill("#t-tokens", "12")
    page.click("#load")
    page.wait_for_selector("#talk:not([hidden])")
    page.fill("#message", "Number 7: which comes first, green or red?")
    page.keyboard.press("Enter")
    page.wait_for_selector("#send:not([disabled])")
    answers = page.locator(".answer span:not(.who):not(.note)").all_inner_texts()
    assert len(answers) == 2 and answers[0] == answers[1] and answers[0]


def test_a_run_is_started_stopped_and_resumed_by_keyboard_alone(finished, folder, visit):
    page = visit().goto(f"/compose?from={finished}")
    page.wait_for_selector("#start:not([disabled])")

    def tab_to(selector: str) -> None:
        for _ in range(120):
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "() => { const box = document.activeElement.getBoundingClientRect(); return box.width * box.height }"
            )
            assert focused > 0, "something that can't be seen has the focus"
        raise AssertionError(f"{selector} is not reached by the Tab key")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    tab_to("#f-epochs")
    page.keyboard.type("20000")  # what was there is selected by Tab; more than any machine trains before it is stopped
    expect(page, "#command").to_contain_text("--epochs 20000")
    page.wait_for_selector("#start:not([disabled])")
    tab_to("#start")
    page.keyboard.press("Enter")
    page.wait_for_url("**/run?folder=**")
    page.wait_for_selector("svg circle")  # of the first log: the next may be far away
    tab_to("[data-post='/run/stop']")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-post='/run/resume']")
    second = folder / "runs" / "sft-scratch-100k-2"
    assert json.loads((second / "run.json").read_text())["status"] == "interrupted"
    tab_to("[data-post='/run/resume']")
    page.keyboard.press("Enter")
    page.wait_for_selector(".badge:has-text('Running')")
    tab_to("[data-post='/run/stop']")
    page.keyboard.press("Enter")
    page.wait_for_selector(".badge:has-text('Stopped')")


def test_the_pages_fit_a_phone_and_have_no_serious_faults_for_who_does_not_see_them_light_and_dark(finished, visit):
    from axe_playwright_python.sync_playwright import Axe

    pages = [
        "/compose",
        "/runs",
        f"/run?folder={finished}",
        f"/try?folder={finished}",
        "/files",
        f"/run/predictions?folder={finished}",
        "/rule/P101",
        "/run?folder=nowhere",
    ]
    for settings in ({}, {"viewport": PHONE, "color_scheme": "dark"}):
        seen = visit(**settings)
        for path in pages:
            page = seen.goto(path)
            if path == "/compose":
                page.fill("#f-lr", "fast")
                page.wait_for_selector("[data-found=lr] .finding")
                page.click("#more summary")
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{path} is {wide} pixels wider than the screen"
            found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
            serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
            assert serious == [], [(path, fault["id"], fault["nodes"][0]["html"]) for fault in serious]
        seen.faults = [fault for fault in seen.faults if "404" not in fault]  # of the page of a run that is not there


def test_runs_are_sorted_filtered_and_compared(finished, folder, visit):
    other = folder / "runs" / "a-copy"
    shutil.copytree(folder / finished, other, ignore=shutil.ignore_patterns("checkpoints", "*.safetensors"))
    run = json.loads((other / "run.json").read_text())
    run["plan"]["parameters"]["lr"]["value"] = 0.5
    (other / "run.json").write_text(json.dumps(run))
    page = visit().goto("/runs")
    page.click("th button:has-text('run')")
    assert page.locator("td.run a").first.inner_text() == "a-copy"
    page.click("th button:has-text('run')")
    assert page.locator("td.run a").last.inner_text() == "a-copy"
    page.check("input[value='runs/a-copy']")
    page.check(f"input[value='{finished}']")
    page.click("#compare-button")
    page.wait_for_selector("text=What differs")
    differences = page.inner_text("table >> nth=0")
    assert "--lr" in differences and "0.5" in differences and "--batch-size" not in differences
    assert page.locator("figure >> nth=0 >> polyline").count() == 2
    page = visit().goto("/runs")
    page.fill("#filter", "a-copy sft")
    assert page.locator("#rows tr:visible").count() == 1


def test_a_run_goes_on_when_the_app_has_ended(folder, browser, tmp_path):
    write_rows(tmp_path / "rows.jsonl", questions(64))
    words = [sys.executable, "-m", "autotrain_llm", "app", "--no-browser", str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        seen = Visit(browser, process.stdout.readline().split()[-1])
        page = seen.goto("/compose")
        for name, text in {**FORM, "data_path": "rows.jsonl", "epochs": "3"}.items():
            page.fill(f"#f-{name}", text)
        page.wait_for_selector("#start:not([disabled])")
        page.click("#start")
        page.wait_for_url("**/run?folder=**")
        seen.context.close()
        process.kill()
    kept = json.loads(next((tmp_path / "runs" / ".app").glob("*.json")).read_text())
    assert os.getpgid(kept["pid"]) == kept["pid"]
    run = tmp_path / "runs" / "sft-scratch-100k-1" / "run.json"
    for _ in range(600):
        if run.exists() and json.loads(run.read_text())["status"] != "running":
            break
        subprocess.run(["sleep", "0.2"], check=True)
    assert json.loads(run.read_text())["status"] == "ok"
