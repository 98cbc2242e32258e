"""A run that was exported opens elsewhere, every page of it, while no vendor and no other process of the sandbox runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests as http
from playwright.sync_api import Page, expect

from compose.settings import ROOT
from tests.browser.checks import axe, no_sideways_scroll
from tests.browser.runs import RealRun
from tests.sandbox import Sandbox
from tests.waiting import until


@dataclass(frozen=True)
class Elsewhere:
    """A page that is served from an empty STATE_DIR with one imported run."""

    site: str
    id: str
    sandbox: Sandbox


@pytest.fixture(scope="module")
def elsewhere(run: RealRun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    folder = tmp_path_factory.mktemp("elsewhere")
    file = folder / "run.parallax.zip"
    done = run.sandbox.run("services.compare", "export", "--run", run.id, str(file))
    assert done.status == 0, done.err
    there = Sandbox.prepare(folder / "state")
    done = there.run("services.compare", "import", str(file))
    assert done.status == 0, done.err
    site = f"http://127.0.0.1:{there.settings().compare_port}"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "services.compare.web"], cwd=ROOT, env=there.environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: _answers(site), 60, "the page serves")
        yield Elsewhere(site, run.id, there)
    finally:
        server.terminate()
        server.wait(30)


def _answers(site: str) -> bool:
    try:
        return http.get(f"{site}/healthz", timeout=5).ok
    except http.RequestException:
        return False


def test_an_imported_run_shows_the_matrix_and_the_cause_of_a_loss(page: Page, elsewhere: Elsewhere, run: RealRun) -> None:
    page.goto(f"{elsewhere.site}/")
    page.get_by_role("link", name=run.id).click()
    expect(page.get_by_role("main")).to_contain_text(run.report["conclusion"])
    axe(page)
    lost = run.lost()
    page.goto(f"{elsewhere.site}/runs/{run.id}/requests/{lost['trace_id']}")
    expect(page.get_by_role("main")).to_contain_text("xray/sdk")
    expect(page.get_by_role("main")).to_contain_text("missing")
    axe(page)


def test_every_page_of_an_imported_run_opens(page: Page, elsewhere: Elsewhere, run: RealRun) -> None:
    """Those its own tabs lead to."""
    page.goto(f"{elsewhere.site}/runs/{run.id}")
    tabs = page.get_by_role("navigation", name="Pages of run").get_by_role("link")
    addresses = [str(tab.get_attribute("href")) for tab in tabs.all()]
    assert len(addresses) >= 4
    for path in addresses:
        page.goto(elsewhere.site + path)
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        axe(page)


def test_a_vendors_page_that_is_asked_for_an_imported_run_says_that_it_is_elsewhere(
    page: Page, dark_phone: Page, elsewhere: Elsewhere, run: RealRun
) -> None:
    for each in (page, dark_phone):
        each.goto(f"{elsewhere.site}/vendors/cloudwatch/search?range={run.id}")
        axe(each)
        no_sideways_scroll(each)
        each.get_by_role("link", name=run.id).click()
        expect(each.locator(".imported")).to_contain_text("raw documents")


def test_the_vendors_own_record_of_an_observation_came_along(page: Page, elsewhere: Elsewhere, run: RealRun) -> None:
    entry = next(entry for entry in run.entries() if entry.status == 200)
    page.goto(f"{elsewhere.site}/runs/{run.id}/requests/{entry.trace_id}")
    raw = page.locator(f'a[href*="/requests/{entry.trace_id}/raw/honeycomb/otlp/"]').first
    page.goto(elsewhere.site + str(raw.get_attribute("href")))
    expect(page.get_by_role("main")).to_contain_text(entry.trace_id)


def test_an_imported_run_is_not_compared_with_what_is_here(elsewhere: Elsewhere, run: RealRun) -> None:
    done = elsewhere.sandbox.run("services.compare", "--run", run.id)
    assert done.status == 2
    assert "was imported" in done.err
    done = elsewhere.sandbox.run("services.compare", "import", str(Path("nothing.zip")))
    assert done.status == 2
    assert "there is no file" in done.err
