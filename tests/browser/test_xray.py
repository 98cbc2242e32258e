"""X-Ray's own pages: from the service map to the traces of a fault, and each of the others; drawn, walked by keyboard, plain."""

from __future__ import annotations

import json
import re

from playwright.sync_api import Page, expect

from services.compare.readers import aws
from services.compare.web.vendors.xray.times import stamp
from tests.api.aws_clients import segment, segment_id, trace_id
from tests.browser.checks import axe, no_sideways_scroll
from tests.browser.runs import RealRun
from tests.browser.watch import expect_status


def address(run: RealRun, page: str, query: str = "") -> str:
    """A page of X-Ray's, of the time of the run."""
    entries = run.entries()
    start, end = min(entry.start for entry in entries), max(entry.start + entry.duration_ms / 1000 for entry in entries)
    return f"{run.site}/vendors/xray/{page}?from={stamp(start - 5)}&to={stamp(end + 10)}{query}"


def test_from_the_map_to_a_trace_with_a_fault(any_page: Page, run: RealRun) -> None:
    any_page.goto(address(run, "map"))
    node = any_page.get_by_role("link", name=re.compile(r"^Profiles, service: \d+ requests"))
    expect(node).to_be_visible()
    axe(any_page)
    no_sideways_scroll(any_page)
    node.focus()
    any_page.keyboard.press("Enter")
    detail = any_page.get_by_role("region", name=re.compile("^Profiles"))
    expect(detail.get_by_role("heading", name="Called by")).to_be_visible()
    expect(any_page.locator(".map-node[aria-current]")).to_have_count(1)
    axe(any_page)
    no_sideways_scroll(any_page)
    detail.get_by_role("link", name="Its traces").click()
    expect(any_page.get_by_label("Filter expression")).to_have_value(re.compile(r"service\(id\(name: \"Profiles\""))
    traces = any_page.get_by_role("region", name="Traces").get_by_role("row")
    expect(traces.nth(1)).to_be_visible()
    axe(any_page)
    no_sideways_scroll(any_page)
    traces.nth(1).get_by_role("link").click()
    expect(any_page.get_by_role("heading", level=1)).to_contain_text("Trace 1-")
    expect(any_page.get_by_role("region", name="Timeline").get_by_role("link", name="Profiles", exact=True).first).to_be_visible()
    axe(any_page)
    no_sideways_scroll(any_page)
    # The newest trace may be of a run that another test made since.
    any_page.get_by_role("link", name=re.compile(r"^This request in run \d{8}-\d{6}-[0-9a-f]{4}$")).click()
    expect(any_page).to_have_url(re.compile(r"/runs/[0-9a-f-]+/requests/[0-9a-f]{32}$"))


def test_an_expression_that_is_wrong_is_told_at_its_box(page: Page, run: RealRun) -> None:
    page.goto(address(run, "traces"))
    expect_status(page, 400)
    page.get_by_label("Filter expression").fill("http.status >")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("alert")).to_contain_text("line 1, column 14")
    box = page.get_by_label("Filter expression")
    expect(box).to_have_value("http.status >")
    expect(box).to_have_accessible_description(re.compile("X-Ray does not take this"))
    axe(page)
    box.fill("fault")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("region", name="Traces").get_by_text("fault").first).to_be_visible()


def test_the_other_pages(page: Page, dark_phone: Page, run: RealRun) -> None:
    for each in (page, dark_phone):
        each.goto(address(run, "traces"))
        for tab in ("Groups", "Insights", "Sampling", "Account"):
            each.get_by_role("navigation", name="Pages of X-Ray").get_by_role("link", name=tab).click()
            expect(each.get_by_role("heading", level=1)).to_have_text(tab)
            axe(each)
            no_sideways_scroll(each)


def test_without_javascript_the_tables_lead_the_same_way(plain_page: Page, run: RealRun) -> None:
    plain_page.goto(address(run, "map"))
    plain_page.get_by_role("region", name="Services").get_by_role("link", name="Profiles", exact=True).click()
    plain_page.get_by_role("link", name="Its traces").click()
    expect(plain_page.get_by_role("region", name="Traces").get_by_role("row").nth(1)).to_be_visible()


def test_a_map_of_a_thousand_services_does_not_hang_the_page(page: Page, run: RealRun) -> None:
    start = 1_500_000_000.0
    calls = [
        {"name": f"leaf{number:03}", "id": segment_id(), "namespace": "remote", "start_time": start, "end_time": start + 0.1}
        for number in range(998)
    ]
    documents = [
        segment(trace_id(start), name="hub", start_time=start, end_time=start + 1, subsegments=calls[at : at + 50])
        for at in range(0, 998, 50)
    ]
    xray = aws.client(run.sandbox.settings(), "xray")
    assert xray.put_trace_segments(TraceSegmentDocuments=list(map(json.dumps, documents)))["UnprocessedTraceSegments"] == []
    page.goto(f"{run.site}/vendors/xray/map?from={stamp(start - 60)}&to={stamp(start + 60)}")
    expect(page.get_by_text("are too many for a picture")).to_be_visible()
    expect(page.locator(".map-node")).to_have_count(0)
    page.get_by_role("link", name="Draw all the same").click()
    expect(page.locator(".map-node")).to_have_count(1000)
