"""One run in a browser: from the matrix to the requests in a cell; filters, with and without JavaScript; the keyboard; what means ill."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.checks import assert_inert, axe, no_sideways_scroll
from tests.browser.runs import RealRun
from tests.browser.watch import expect_status, watch_of

#: `test_walk.py` looks at the run's first page.
PAGES = [
    "/requests",
    "/requests?verdict=not-as-expected&sort=difference",
    "/requests?path=xray/otlp&verdict=missing",
    "/attributes",
    "/strays",
]


def looked_at(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    axe(page)
    no_sideways_scroll(page)
    assert_inert(page)


def lost(run: RealRun) -> int:
    missing: int = run.report["paths"]["xray/sdk"]["verdicts"]["missing"]
    return missing


def test_every_page_of_a_run_can_be_read_at_each_width_and_in_each_scheme(any_page: Page, run: RealRun) -> None:
    for below in PAGES:
        any_page.goto(run.url(below))
        looked_at(any_page)


def test_from_the_matrix_to_one_lost_request(page: Page, run: RealRun) -> None:
    page.goto(run.url())
    expect(page.get_by_role("region", name="Verdicts").get_by_role("rowheader")).to_have_count(6)
    page.get_by_role("link", name=f"{lost(run)} missing on xray/sdk").click()
    expect(page).to_have_url(run.url("/requests?path=xray/sdk&verdict=missing"))
    expect(page.locator("#found")).to_contain_text(f"{lost(run)} of {run.report['requests']} requests")
    request = run.lost()
    row = page.get_by_role("row").filter(has_text=request["trace_id"])
    expect(row).to_contain_text("✗ missing")
    expect(row.get_by_role("link")).to_have_attribute("href", f"/runs/{run.id}/requests/{request['trace_id']}")
    expect(page.get_by_text("the process xray-daemon was away").first).to_be_visible()


def test_what_an_sdk_and_an_exporter_added_is_found_on_every_path(page: Page, run: RealRun) -> None:
    """From the vendors' own records of a real run: Honeycomb's columns, X-Ray's documents, log events, occurrences."""
    page.goto(run.url("/attributes"))
    for path, name, same in (
        ("honeycomb/otlp", "telemetry.sdk.version", ""),
        ("xray/sdk", "http.response.status", "http.response.status_code"),
        ("xray/otlp", "sql.database_type", ""),
        ("cloudwatch/otlp", "severity_text", ""),
        ("rollbar/sdk", "notifier.name", ""),
    ):
        page.get_by_role("list", name="Names of each path").get_by_role("link", name=path).click()
        expect(page).to_have_url(run.url(f"/attributes?path={path}#beside"))
        table = page.get_by_role("region", name=f"What {path} has beside what is declared")
        row = table.get_by_role("row").filter(has=page.get_by_role("rowheader", name=name, exact=False)).first
        expect(row).to_contain_text(same or name)


def test_plots_are_drawn_and_have_a_table(page: Page, run: RealRun) -> None:
    page.goto(run.url())
    figures = page.get_by_role("figure")
    expect(page.locator("figure .u-wrap canvas")).to_have_count(figures.count())
    first = figures.first
    first.get_by_text("As a table").click()
    expect(first.get_by_role("columnheader", name=re.compile(r"^ledger \(\d+\)$"))).to_be_visible()
    expect(first.get_by_role("region").get_by_role("row")).to_have_count(10)


def test_a_changed_filter_changes_the_list_in_place_and_its_address(page: Page, run: RealRun) -> None:
    page.goto(run.url("/requests"))
    page.evaluate("window.stayed = true")
    page.get_by_role("combobox", name="Path", exact=True).select_option("xray/sdk")
    expect(page).to_have_url(run.url("/requests?path=xray%2Fsdk"))
    page.get_by_role("combobox", name="Verdict", exact=True).select_option("missing")
    expect(page).to_have_url(run.url("/requests?path=xray%2Fsdk&verdict=missing"))
    told = f"{lost(run)} of {run.report['requests']} requests"
    expect(page.locator("#found [data-told]")).to_have_text(told)
    expect(page.get_by_role("status")).to_have_text(told)
    assert page.evaluate("window.stayed") is True
    looked_at(page)
    page.go_back()
    expect(page.locator("#found [data-told]")).to_have_text(f"{run.report['requests']} requests")
    page.goto(run.url("/requests?path=xray/sdk&verdict=missing"))
    expect(page.get_by_role("combobox", name="Verdict", exact=True)).to_have_value("missing")
    page.get_by_role("link", name="Remove the filter verdict missing").click()
    expect(page).to_have_url(run.url("/requests?path=xray/sdk"))


def test_a_filter_that_cannot_be_meant_is_told_in_place(page: Page, run: RealRun) -> None:
    page.goto(run.url("/requests"))
    page.get_by_label("Sent from, UTC").fill("2026-01-05T09:00")
    expect_status(page, 400)
    page.get_by_label("to", exact=True).fill("2026-01-05T08:00")
    page.get_by_label("to", exact=True).press("Enter")
    expect(page.locator("#found")).to_contain_text("is not after from")
    expect(page.get_by_role("status")).to_contain_text("is not after from")
    axe(page)


def test_filters_sorting_and_search_work_without_javascript(plain_page: Page, run: RealRun) -> None:
    plain_page.goto(run.url("/requests"))
    plain_page.get_by_role("combobox", name="Verdict", exact=True).select_option("missing")
    plain_page.get_by_role("button", name="Show").click()
    expect(plain_page.locator("#found")).to_contain_text(f"{lost(run)} of {run.report['requests']} requests")
    plain_page.get_by_role("columnheader", name="duration", exact=True).get_by_role("link").click()
    expect(plain_page.get_by_role("columnheader", name=re.compile("^duration"))).to_have_attribute("aria-sort", "descending")
    expect(plain_page.get_by_role("combobox", name="Verdict", exact=True)).to_have_value("missing")
    request = run.lost()
    plain_page.get_by_label("Trace id or #number").fill(f"#{request['sequence']}")
    plain_page.get_by_label("Trace id or #number").press("Enter")
    expect(plain_page).to_have_url(run.request_url(request["trace_id"]))


def test_the_keyboard_goes_from_the_filters_to_the_requests_in_order(page: Page, run: RealRun) -> None:
    page.goto(run.url("/requests"))
    page.get_by_role("combobox", name="Path", exact=True).focus()
    seen: list[str] = []
    while not seen or not (seen[-1] or "").startswith("/runs/"):
        assert len(seen) < 60, seen
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("document.activeElement.name || document.activeElement.getAttribute('href') || document.activeElement.tagName")
        )
    names = [name for name in dict.fromkeys(seen) if name.isalpha() and name.islower()]
    assert names == ["verdict", "route", "status", "outcome", "error", "from", "to", "slower", "sort"]
    assert "sort=duration" in page.evaluate("document.activeElement.closest('table').querySelector('th:nth-child(5) a').href")
    for _ in range(20):
        if page.evaluate("document.activeElement.closest('tbody') !== null"):
            break
        page.keyboard.press("Tab")
    first = page.evaluate("document.activeElement.getAttribute('href')")
    assert first == f"/runs/{run.id}/requests/{run.entries()[0].trace_id}"


@pytest.mark.parametrize("below", ["/requests?verdict=lost", "/requests?find=nothing"])
def test_what_is_asked_wrongly_is_a_page_that_says_so(page: Page, run: RealRun, below: str) -> None:
    expect_status(page, 400, 404)
    page.goto(run.url(below))
    looked_at(page)
    assert len(page.get_by_role("main").inner_text()) > 80
    assert not watch_of(page).faults
