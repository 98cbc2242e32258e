"""The cost of a run: units that were counted, a month at another rate, and what another sampling rate would hide."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.checks import axe, no_sideways_scroll
from tests.browser.runs import RealRun
from tests.browser.watch import expect_status


def test_the_cost_of_a_run(any_page: Page, run: RealRun) -> None:
    any_page.goto(run.url())
    any_page.get_by_role("link", name="Cost").click()
    expect(any_page).to_have_url(run.url("/cost"))
    units = any_page.get_by_role("region", name="Billable units of this run, by path")
    billed = run.report["paths"]["honeycomb/otlp"]["billed"]["units"]
    expect(units.get_by_role("row").filter(has_text="honeycomb/events")).to_contain_text(f"{billed:,} events")
    expect(units.get_by_role("row").filter(has_text="cloudwatch/custom-metrics")).to_contain_text("metric")
    axe(any_page)
    no_sideways_scroll(any_page)


def test_another_rate_and_another_sampling_are_an_address(page: Page, run: RealRun) -> None:
    page.goto(run.url("/cost"))
    page.get_by_label("Requests a second").fill("1000")
    page.get_by_label("Sampling, percent").fill("0")
    page.get_by_role("button", name="Reckon").click()
    expect(page.get_by_role("heading", name="A month at 1,000 requests a second")).to_be_visible()
    errors = sum(1 for entry in run.entries() if entry.status is None or entry.status >= 500)
    assert errors > 0
    hidden = page.get_by_role("region", name="Hidden errors").get_by_role("row")
    # A backend may show a request as failed that the client got an answer to.
    assert hidden.count() - 1 >= errors, "nothing is kept, so every error is hidden"
    hidden.nth(1).get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_count(1)


@pytest.mark.parametrize("query", ["rate=fast", "rate=-1", "sampling=101", "sampling=nan"])
def test_a_number_that_is_none_is_a_page_that_says_so(page: Page, run: RealRun, query: str) -> None:
    expect_status(page, 400)
    page.goto(run.url(f"/cost?{query}"))
    expect(page.get_by_role("main")).to_contain_text("is not a number from 0")
