"""A first walk: the pages that everything else begins at, at each width and in each scheme."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.checks import assert_inert, axe, no_sideways_scroll
from tests.browser.hostile import TEXTS, HostileRun, counts
from tests.browser.runs import RealRun
from tests.browser.watch import expect_status


def looked_at(page: Page) -> None:
    """What holds of every page."""
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    expect(page.get_by_role("main")).to_have_count(1)
    axe(page)
    no_sideways_scroll(page)
    assert_inert(page)


def test_the_list_of_runs_leads_to_a_run(any_page: Page, run: RealRun) -> None:
    any_page.goto(f"{run.site}/")
    looked_at(any_page)
    any_page.get_by_role("link", name=run.id).click()
    expect(any_page).to_have_url(run.url())


def test_what_is_not_there_is_a_page_that_says_so(page: Page, dark_phone: Page, run: RealRun) -> None:
    for each in (page, dark_phone):
        expect_status(each, 404)
        for path in ("/runs/20000101-000000-0000", "/runs/no-run", "/nothing/here"):
            each.goto(run.site + path)
            looked_at(each)


def test_pages_work_without_javascript(plain_page: Page, run: RealRun) -> None:
    plain_page.goto(f"{run.site}/")
    plain_page.get_by_role("link", name=run.id).click()
    expect(plain_page).to_have_url(run.url())
    expect(plain_page.get_by_role("main")).to_contain_text("xray/sdk")


def test_a_hostile_run_is_told_by_every_vendor_and_read_back(hostile: HostileRun) -> None:
    """Else the pages that show it would prove nothing."""
    for path, verdicts in counts(hostile).items():
        assert verdicts == {"seen": len(TEXTS) - 1, "not-expected": 1}, path
    assert {stray["path"] for stray in hostile.report["strays"]} == set(hostile.report["paths"])
    assert {stray["trace_id"] for stray in hostile.report["strays"]} == set(hostile.strays)
