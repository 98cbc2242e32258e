"""The pages of Honeycomb, CloudWatch and Rollbar on a real run: what it made is found, by links and forms."""

from __future__ import annotations

import json
import time

import pytest
from playwright.sync_api import Page, expect

from services.compare.readers.aws import client
from services.compare.web.vendors.xray.times import stamp
from tests.browser.checks import assert_inert, axe, no_sideways_scroll
from tests.browser.runs import RealRun
from tests.browser.watch import expect_status
from tests.sandbox import Sandbox

VENDORS = ("honeycomb", "cloudwatch", "rollbar")


def looked_at(page: Page) -> None:
    """What holds of every page."""
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    axe(page)
    no_sideways_scroll(page)
    assert_inert(page)


def vendor(run: RealRun, below: str) -> str:
    return f"{run.site}/vendors/{below}"


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_of_a_vendor_is_accessible_and_fits(page: Page, run: RealRun, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme="dark" if width == 390 else "light")
    for name in VENDORS:
        page.goto(vendor(run, name))
        looked_at(page)
        tabs = page.get_by_role("navigation", name="Pages of").last.get_by_role("link")
        for address in [str(tab.get_attribute("href")) for tab in tabs.all()][1:]:
            page.goto(run.site + address)
            looked_at(page)


def test_a_query_is_a_form_a_plot_and_an_address(page: Page, run: RealRun) -> None:
    page.goto(vendor(run, "honeycomb"))
    page.get_by_role("link", name="Query cruddur", exact=True).click()
    # Other tests make runs, too, and the list of times has the newest only.
    page.goto(f"{page.url}&range={run.id}")
    expect(page.get_by_label("Time")).to_have_value(run.id)
    page.get_by_label("Column 1", exact=True).fill("http.route")
    page.get_by_label("Condition 1").select_option("exists")
    page.get_by_label("Group 1").fill("http.route")
    page.get_by_role("button", name="Run the query").click()
    result = page.get_by_role("region", name="Result", exact=True)
    expect(result.get_by_role("row").filter(has_text="/api/activities/home")).to_have_count(1)
    expect(page.locator("figure.plot canvas")).to_have_count(1)
    looked_at(page)
    page.goto(page.url)
    expect(result.get_by_role("row").filter(has_text="/api/activities/home")).to_have_count(1)


def test_what_honeycomb_refuses_stands_at_the_field(page: Page, run: RealRun) -> None:
    page.goto(vendor(run, "honeycomb/query?dataset=cruddur&op=P99&column="))
    expect(page.get_by_label("Calculation 1")).to_have_accessible_description("✗ column is required")
    looked_at(page)


def during(run: RealRun) -> str:
    """The time of the run alone: what another run sends a moment later is not in it, as it is in the range that a run's id stands for."""
    entries = run.entries()
    start, end = min(entry.start for entry in entries), max(entry.start + entry.duration_ms / 1000 for entry in entries)
    return f"range=custom&from={stamp(start)}&to={stamp(end + 1)}"


def test_an_event_leads_to_its_trace_and_the_trace_to_its_request(page: Page, run: RealRun) -> None:
    page.goto(vendor(run, f"honeycomb/events?dataset=cruddur&{during(run)}"))
    looked_at(page)
    page.get_by_role("region", name="Events").get_by_role("row").nth(1).get_by_role("link").first.click()
    expect(page.get_by_role("region", name="Spans and log records").get_by_role("row").nth(1)).to_be_visible()
    looked_at(page)
    page.get_by_role("link", name="This request in all four backends").click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def test_a_search_finds_the_lines_of_a_run_and_a_line_opens(page: Page, run: RealRun) -> None:
    page.goto(vendor(run, "cloudwatch"))
    page.get_by_role("link", name="Search cruddur").click()
    page.goto(f"{page.url}&{during(run)}")
    page.get_by_role("button", name="Search").click()
    line = page.get_by_role("group", name="Lines").locator(".line").first
    line.locator("summary").click()
    expect(line.locator("pre")).to_contain_text(f'"run": "{run.id}"')
    looked_at(page)
    line.get_by_role("link").click()
    expect(page).to_have_url(f"{run.site}/runs/{run.id}/requests/{page.url.rsplit('/', 1)[1]}")


def write(sandbox: Sandbox, group: str, *messages: str) -> None:
    now = int(time.time() * 1000)
    client(sandbox.settings(), "logs").put_log_events(
        logGroupName=group, logStreamName="one", logEvents=[{"timestamp": now, "message": message} for message in messages]
    )


def test_the_tail_shows_each_line_once_stays_bounded_and_pauses(page: Page, run: RealRun, sandbox: Sandbox) -> None:
    logs = client(sandbox.settings(), "logs")
    logs.create_log_group(logGroupName="tailed")
    logs.create_log_stream(logGroupName="tailed", logStreamName="one")
    write(sandbox, "tailed", "was there before")
    page.goto(vendor(run, "cloudwatch/tail?group=tailed"))
    lines = page.get_by_role("log").locator(".line")
    expect(lines).to_have_count(1)
    write(sandbox, "tailed", json.dumps({"came": "by itself"}))
    expect(lines).to_have_count(2)
    looked_at(page)
    page.get_by_role("button", name="Pause").click()
    write(sandbox, "tailed", *(f"line {number}" for number in range(250)))
    with page.expect_event("console", predicate=lambda message: message.text == "asked three times", timeout=15_000):
        page.evaluate(
            "() => { let asked = 0; document.addEventListener('htmx:beforeRequest', () => { asked += 1;"
            " if (asked === 3) console.log('asked three times'); }); }"
        )
    expect(lines).to_have_count(2)
    page.get_by_role("button", name="Paused").click()
    expect(lines).to_have_count(200)
    expect(lines.last).to_contain_text("line 249")


def test_a_vendor_that_goes_away_is_told_in_the_tail_and_comes_back(page: Page, run: RealRun, sandbox: Sandbox) -> None:
    page.goto(vendor(run, "cloudwatch/tail?group=cruddur"))
    expect(page.get_by_role("log").locator(".line").first).to_be_visible()
    sandbox.process("stop", "aws")
    try:
        expect(page.get_by_role("status")).to_contain_text("CloudWatch Logs does not answer")
        page.goto(vendor(run, "cloudwatch"))
        expect(page.get_by_role("main")).to_contain_text("`make status` shows what runs")
        axe(page)
        page.goto(vendor(run, "rollbar"))
        expect(page.get_by_role("region", name="Items")).to_be_visible()
    finally:
        sandbox.process("start", "aws")


def test_an_item_leads_to_its_occurrence_and_that_to_its_request(page: Page, run: RealRun) -> None:
    page.goto(vendor(run, "rollbar"))
    page.get_by_label("Words of the title").fill("was asked to fail")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("region", name="Items").get_by_role("row").nth(1).get_by_role("link").click()
    looked_at(page)
    page.get_by_role("region", name="Occurrences").get_by_role("row").nth(1).get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Stack")).to_be_visible()
    looked_at(page)
    page.get_by_role("link", name="This request in all four backends").click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def test_what_is_not_there_is_a_page_that_says_so(page: Page, run: RealRun) -> None:
    expect_status(page, 400, 404)
    for below in ("honeycomb/datasets/nobody", "cloudwatch/streams?group=nobody", "rollbar/items/1", "cloudwatch/search?range=never"):
        page.goto(vendor(run, below))
        looked_at(page)


def test_pages_work_without_javascript(plain_page: Page, run: RealRun) -> None:
    plain_page.goto(vendor(run, f"honeycomb/query?dataset=cruddur&op=COUNT&range={run.id}"))
    plain_page.get_by_text("As a table").click()
    expect(plain_page.get_by_role("region", name="COUNT over time as a table").get_by_role("row").nth(1)).to_be_visible()
    plain_page.goto(vendor(run, "cloudwatch/tail?group=cruddur"))
    expect(plain_page.get_by_role("link", name="Look again")).to_be_visible()
    expect(plain_page.get_by_role("button", name="Pause")).to_be_hidden()
