"""The page of one request, on a real run and on one that means ill: what a pointer, a keyboard and no script at all can do with it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.checks import assert_inert, axe, no_sideways_scroll
from tests.browser.hostile import HostileRun
from tests.browser.runs import RealRun
from tests.browser.watch import expect_status

TRACING = ("honeycomb/otlp", "xray/otlp")


def home(run: RealRun) -> str:
    """A request of which every path shows the work of the view, too."""
    lost = {row["trace_id"] for row in run.report["not_as_expected"]}
    return next(
        entry.trace_id
        for entry in run.entries()
        if entry.route == "GET /api/activities/home" and entry.status == 200 and entry.trace_id not in lost
    )


def pane(page: Page, path: str) -> Locator:
    return page.get_by_role("region", name=path, exact=True)


def looked_at(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    axe(page)
    no_sideways_scroll(page)
    assert_inert(page)


def test_a_lost_segment_stands_beside_what_the_other_paths_show(any_page: Page, run: RealRun) -> None:
    lost = run.lost()
    any_page.goto(run.request_url(lost["trace_id"]))
    expect(pane(any_page, "xray/sdk")).to_contain_text("missing: Cruddur")
    expect(pane(any_page, "xray/sdk")).to_contain_text(lost["why"].split(";")[0][:80])
    for path in TRACING:
        expect(pane(any_page, path)).not_to_contain_text("missing")
        expect(pane(any_page, path).get_by_role("listitem").first).to_be_visible()
    looked_at(any_page)


def test_pointing_marks_the_same_operation_in_every_pane(page: Page, run: RealRun) -> None:
    page.goto(run.request_url(home(run)))
    pane(page, "xray/sdk").get_by_role("link", name="HomeActivities", exact=True).hover()
    for path, name in (("honeycomb/otlp", "home.activities"), ("xray/otlp", "home.activities"), ("cloudwatch/otlp", "home")):
        same = pane(page, path).locator(".row.same")
        expect(same.first).to_contain_text(name)
    expect(page.locator("tr.same")).to_have_count(1)
    page.get_by_role("heading", level=1).hover()
    expect(page.locator(".same")).to_have_count(0)


def test_the_keyboard_does_what_the_pointer_does_and_the_address_keeps_it(page: Page, run: RealRun) -> None:
    page.goto(run.request_url(home(run)))
    link = pane(page, "honeycomb/otlp").get_by_role("link", name="home.activities", exact=True)
    link.focus()
    expect(pane(page, "xray/sdk").locator(".row.same")).to_contain_text("HomeActivities")
    page.keyboard.press("Enter")
    marked = pane(page, "xray/sdk").locator(".row.marked")
    expect(marked).to_contain_text("HomeActivities")
    assert "operation=op" in page.url
    page.reload()
    expect(marked).to_contain_text("HomeActivities")
    link.press("Enter")
    expect(marked).to_have_count(0)
    assert "operation" not in page.url


def test_without_a_script_a_click_marks_and_raw_data_is_a_page(plain_page: Page, run: RealRun) -> None:
    plain_page.goto(run.request_url(home(run)))
    pane(plain_page, "honeycomb/otlp").get_by_role("link", name="home.activities", exact=True).click()
    expect(pane(plain_page, "xray/sdk").locator(".row.marked")).to_contain_text("HomeActivities")
    pane(plain_page, "xray/sdk").get_by_role("link", name="raw data of subsegment HomeActivities").click()
    expect(plain_page.get_by_role("heading", level=1)).to_contain_text("HomeActivities")
    expect(plain_page.locator("pre")).to_contain_text('"start_time"')
    plain_page.go_back()
    expect(plain_page.get_by_role("heading", level=1)).to_contain_text("/api/activities/home")


def test_raw_data_of_each_path_opens_within_the_page(page: Page, run: RealRun) -> None:
    page.goto(run.request_url(home(run)))
    dialog = page.get_by_role("dialog")
    for path in ("honeycomb/otlp", "xray/sdk", "xray/otlp", "cloudwatch/watchtower", "cloudwatch/otlp"):
        link = pane(page, path).locator("a[data-raw]").first
        link.click()
        expect(dialog.locator("pre")).to_contain_text(run.id)
        # From the vendor, or from the run: once it was exported, by another test, it has its documents.
        expect(dialog).to_contain_text(re.compile("read through its public API|Kept with the run"))
        if path == "xray/sdk":
            axe(page)
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        expect(link).to_be_focused()
    assert page.url == run.request_url(home(run))


def test_raw_data_can_be_had_as_a_file(page: Page, run: RealRun) -> None:
    page.goto(run.request_url(home(run)))
    pane(page, "xray/sdk").locator("a[data-raw]").first.click()
    with page.expect_download() as download:
        page.get_by_role("dialog").get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == f"xray-sdk-{home(run)}.json"


def test_what_the_vendors_say_now_is_what_was_recorded(page: Page, run: RealRun) -> None:
    page.goto(run.request_url(home(run)))
    rows = page.locator(".pane .row")
    recorded = rows.all_inner_texts()
    page.get_by_role("link", name="Read again now").click()
    expect(page.get_by_text("Read from the vendors just now")).to_be_visible()
    assert rows.all_inner_texts() == recorded
    page.get_by_role("link", name="As it was compared").click()
    expect(page).to_have_url(run.request_url(home(run)))


def test_a_vendor_that_is_down_says_so_in_its_own_pane(page: Page, run: RealRun) -> None:
    run.sandbox.process("stop", "rollbar")
    try:
        page.goto(run.request_url(home(run)) + "?source=vendors")
        expect(pane(page, "rollbar/sdk")).to_contain_text("does not answer")
        expect(pane(page, "xray/sdk")).to_contain_text("HomeActivities")
        looked_at(page)
    finally:
        run.sandbox.process("start", "rollbar")


def test_from_request_to_request(page: Page, run: RealRun) -> None:
    entries = run.entries()
    page.goto(run.request_url(entries[1].trace_id))
    neighbours = page.get_by_role("navigation", name="Other requests of this run")
    neighbours.get_by_role("link", name="Next", exact=True).click()
    expect(page).to_have_url(run.request_url(entries[2].trace_id))
    neighbours.get_by_role("link", name="next one").click()
    later = [row for row in run.report["not_as_expected"] if row["sequence"] > entries[2].sequence]
    expect(page).to_have_url(run.request_url(min(later, key=lambda row: row["sequence"])["trace_id"]))
    page.get_by_role("link", name="Requests").click()
    expect(page).to_have_url(run.url("/requests"))


@pytest.mark.parametrize(
    "below", ["/requests/" + "a" * 32, "/requests/nonsense", "/requests/" + "a" * 32 + "/raw/xray/sdk/~1"], ids=range(3)
)
def test_what_is_not_there_says_so(page: Page, run: RealRun, below: str) -> None:
    expect_status(page, 404)
    page.goto(run.url(below))
    looked_at(page)


def test_hostile_raw_data_is_text(page: Page, hostile: HostileRun) -> None:
    page.goto(hostile.request_url(hostile.trace_ids["megabyte"]) + "?source=vendors")
    assert_inert(page)
    for path in ("honeycomb/otlp", "xray/sdk", "cloudwatch/otlp", "rollbar/sdk"):
        pane(page, path).locator("a[data-raw]").last.click()
        expect(page.get_by_role("dialog").locator("pre")).to_be_visible()
        assert_inert(page)
        page.keyboard.press("Escape")


def test_a_hostile_stray_is_shown_as_text(phone: Page, hostile: HostileRun) -> None:
    phone.goto(hostile.request_url(hostile.strays[0]))
    expect(phone.get_by_text("No line of this run's ledger")).to_be_visible()
    looked_at(phone)
