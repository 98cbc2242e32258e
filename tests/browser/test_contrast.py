"""Two runs, one of them with a backend that was slowed on purpose: they differ exactly there, on the page and in the exit status."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest
from playwright.sync_api import Page, expect

from tests.browser.checks import axe, no_sideways_scroll
from tests.browser.runs import RealRun, address
from tests.browser.watch import expect_status
from tests.sandbox import Sandbox

#: Enough for p50 and p90 to be told from chance.
REQUESTS = 80
#: What the client sees depends on what else the machine does; a pause of the whole backend does not.
THRESHOLDS = "slower=off later=100%+1s lost=0% cost=10%"


@pytest.fixture(scope="module")
def runs(sandbox: Sandbox, run: RealRun) -> tuple[str, str]:
    """The same requests twice. The second time Honeycomb stood still from before the load until after it."""
    usual = sandbox.load(REQUESTS)
    sandbox.compare(usual, status=0)
    (honeycomb,) = sandbox.processes()["honeycomb"]
    honeycomb.send_signal(signal.SIGSTOP)
    try:
        slowed = sandbox.load(REQUESTS)
    finally:
        honeycomb.send_signal(signal.SIGCONT)
    sandbox.compare(slowed, status=0, settle="10")
    return slowed, usual


def test_the_exit_status_and_the_reports_say_exactly_where(sandbox: Sandbox, runs: tuple[str, str], tmp_path: Path) -> None:
    slowed, usual = runs
    reports = ["--markdown", str(tmp_path / "report.md"), "--junit", str(tmp_path / "junit.xml")]
    done = sandbox.run("services.compare", "--run", slowed, "--with", usual, "--thresholds", THRESHOLDS, "--format", "json", *reports)
    assert done.status == 1, done.err
    document = json.loads(done.out)
    exceeded = [check for check in document["checks"] if check["result"] == "exceeded"]
    assert {(check["where"], check["kind"]) for check in exceeded} == {("honeycomb/otlp", "later")}, exceeded
    assert document["losses"] == []
    suites = xml.parse(tmp_path / "junit.xml").getroot()
    assert {suite.attrib["name"] for suite in suites if suite.findall(".//failure")} == {"honeycomb/otlp"}
    assert "visible after p50" in (tmp_path / "report.md").read_text()
    back = sandbox.run("services.compare", "--run", usual, "--with", slowed, "--thresholds", THRESHOLDS, "--format", "json")
    assert back.status == 0, "the other way round nothing got worse"


def test_the_page_says_exactly_where(any_page: Page, sandbox: Sandbox, runs: tuple[str, str]) -> None:
    slowed, usual = runs
    page = any_page
    page.goto(f"{address(sandbox)}/runs/{slowed}")
    page.get_by_role("link", name="Against another run").click()
    page.get_by_label("Earlier run").select_option(usual)
    page.get_by_label("Accepted").fill(THRESHOLDS)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name=f"Against {usual}")).to_be_visible()
    rows = page.get_by_role("table", name="What differs").get_by_role("row").filter(has_text="exceeded")
    assert rows.count() >= 1
    for text in rows.all_inner_texts():
        assert "honeycomb/otlp" in text
        assert "visible after" in text
    expect(page.get_by_text("Exit status 1.")).to_be_visible()
    axe(page)
    no_sideways_scroll(page)
    # What is shown is an address: whoever gets it sees the same.
    here = page.url
    page.goto("about:blank")
    page.goto(here)
    expect(page.get_by_text("Exit status 1.")).to_be_visible()


def test_a_run_against_itself_or_against_none_is_a_page_that_says_so(page: Page, sandbox: Sandbox, runs: tuple[str, str]) -> None:
    slowed, usual = runs
    site = f"{address(sandbox)}/runs/{slowed}/with"
    for below, status in ((f"/{slowed}", 400), ("/20000101-000000-0000", 404), (f"/{usual}?thresholds=quick", 400)):
        expect_status(page, status)
        page.goto(site + below)
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        axe(page)
