"""Every page that shows a run which means ill: its telemetry stays text, no page gets wider than the window, and all of it is accessible.

Other tests ask what a page shows; this one asks only what no page may do, of as many pages as there are.
"""

from __future__ import annotations

from collections.abc import Iterator

from playwright.sync_api import Locator, Page, expect

from tests.browser.checks import assert_inert, axe, no_sideways_scroll
from tests.browser.conftest import HEIGHTS
from tests.browser.hostile import HostileRun
from tests.browser.runs import RealRun

#: Of pages that show one request each, those of these texts; the page of a request is asked for with every one.
TEXTS = ("script", "json-in-script", "control", "bidi", "invisible", "marks", "csv", "megabyte")


def looked_at(page: Page, address: str, accessible: bool = True) -> None:
    """Open a page, look at it as wide as a desk and as narrow as a phone; with ``accessible`` by axe, too."""
    page.set_viewport_size({"width": 1280, "height": HEIGHTS[1280]})
    page.goto(address)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    expect(page.get_by_role("main")).not_to_contain_text("does not answer")
    expect(page.get_by_role("main")).not_to_contain_text("could not run the query")
    assert_inert(page)
    no_sideways_scroll(page)
    if accessible:
        axe(page)
    page.set_viewport_size({"width": 390, "height": HEIGHTS[390]})
    no_sideways_scroll(page)


def looked_at_all(page: Page, addresses: Iterator[str]) -> None:
    """Many pages that are made alike: the first by axe."""
    for number, address in enumerate(addresses):
        looked_at(page, address, accessible=number == 0)


def links(within: Locator) -> list[str]:
    """Where the links lead, each once."""
    return list(dict.fromkeys(str(link.get_attribute("href")) for link in within.all()))


def test_the_tabs_of_its_run(page: Page, hostile: HostileRun, run: RealRun) -> None:
    looked_at(page, f"{hostile.site}/")
    for below in ("", "/requests", "/requests?path=xray/sdk&verdict=seen&sort=duration", "/attributes", "/strays", "/cost", "/live"):
        looked_at(page, hostile.url(below))
    for below in ("/with", f"/with/{run.id}"):
        looked_at(page, hostile.url(below))


def test_the_pages_of_its_requests(page: Page, hostile: HostileRun) -> None:
    looked_at_all(page, map(hostile.request_url, hostile.trace_ids.values()))
    looked_at_all(page, map(hostile.request_url, hostile.strays))


def test_the_raw_data_of_a_request(page: Page, hostile: HostileRun) -> None:
    page.goto(hostile.request_url(hostile.trace_ids["megabyte"]))
    raw = links(page.get_by_role("main").locator("a[href*='/raw/']"))
    # One of each backend and way.
    kinds = {address.split("/raw/")[1].rsplit("/", 1)[0]: address for address in raw}
    assert len(kinds) >= 6, raw
    looked_at_all(page, (hostile.site + address for address in kinds.values()))


def test_honeycombs_pages(page: Page, hostile: HostileRun) -> None:
    site = f"{hostile.site}/vendors/honeycomb"
    looked_at(page, f"{site}/datasets/cruddur")
    looked_at(page, f"{site}/events?dataset=cruddur&range={hostile.id}")
    looked_at(page, f"{site}/query?dataset=cruddur&op=COUNT&column=&breakdown=name&breakdown=message&range={hostile.id}")
    looked_at_all(page, (f"{site}/traces/{hostile.trace_ids[name]}" for name in TEXTS))


def test_xrays_pages(page: Page, hostile: HostileRun) -> None:
    site = f"{hostile.site}/vendors/xray"
    looked_at(page, f"{site}/traces?range={hostile.id}")
    page.goto(f"{site}/map?range={hostile.id}")
    expect(page.locator("a.map-node").first).to_be_visible()
    assert_inert(page)
    nodes = links(page.locator("a.map-node"))
    looked_at_all(page, (hostile.site + address for address in nodes[:3]))
    looked_at_all(page, (f"{site}/traces/{hostile.trace_ids[name]}" for name in TEXTS))


def test_cloudwatchs_pages(page: Page, hostile: HostileRun) -> None:
    site = f"{hostile.site}/vendors/cloudwatch"
    looked_at(page, f"{site}/search?group=cruddur&range={hostile.id}")
    looked_at(page, f"{site}/search?group=/parallax/otlp&range={hostile.id}", accessible=False)
    looked_at(page, f"{site}/tail?group=cruddur")
    page.goto(f"{site}/streams?group=cruddur&prefix=hostile")
    stream = links(page.get_by_role("main").locator("a[href*='/events?']"))
    looked_at(page, hostile.site + stream[0])


def test_rollbars_pages(page: Page, hostile: HostileRun) -> None:
    site = f"{hostile.site}/vendors/rollbar"
    for below in ("", "/occurrences", "/reports"):
        looked_at(page, site + below)
    page.goto(site)
    looked_at_all(page, (hostile.site + address for address in links(page.locator("main a[href*='/rollbar/items/']"))[:4]))
    page.goto(f"{site}/occurrences")
    looked_at_all(page, (hostile.site + address for address in links(page.locator("main a[href*='/rollbar/occurrences/']"))[:8]))
