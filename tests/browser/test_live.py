"""A load from its form to what arrived: started, watched and compared in the browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from loadtest.runs import going_on, load_run
from tests.browser.checks import assert_inert, axe, no_sideways_scroll
from tests.browser.runs import address
from tests.browser.watch import expect_status
from tests.sandbox import Sandbox
from tests.waiting import until

#: Milliseconds in which a load starts, and in which one of these is over and compared.
SOON, LATER = 60_000, 120_000


def run_of(page: Page) -> str:
    return page.url.split("/runs/")[1].split("/")[0]


def fill(page: Page, requests: int) -> None:
    page.get_by_label("Profile").select_option("smoke")
    page.get_by_label("Requests").fill(str(requests))


def no_load(sandbox: Sandbox) -> None:
    until(lambda: not going_on(sandbox.settings()), 60, "the load before to be over")


@pytest.fixture
def site(sandbox: Sandbox) -> str:
    no_load(sandbox)
    return address(sandbox)


def test_a_load_is_started_watched_and_compared(page: Page, phone: Page, plain_page: Page, site: str, sandbox: Sandbox) -> None:
    page.goto(f"{site}/")
    page.get_by_role("link", name="Start a load").click()
    axe(page)
    fill(page, 240)
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(re.compile("/live$"), timeout=SOON)
    run = run_of(page)
    far = page.locator("#how-far")
    seen = []
    for least in (1, 60):
        expect(far).to_have_text(re.compile(rf"^({'|'.join(str(n) for n in range(least, 241))}) of 240 requests"), timeout=SOON)
        seen.append(int(far.inner_text().split(" ")[0]))
    assert seen[0] < seen[1], "it moves, without a reload"
    # The same load, on the list, on a phone, and without JavaScript.
    phone.goto(f"{site}/")
    expect(phone.get_by_role("link", name=f"{run} goes on")).to_be_visible()
    axe(phone)
    no_sideways_scroll(phone)
    phone.goto(f"{site}/runs/{run}/live")
    no_sideways_scroll(phone)
    plain_page.goto(f"{site}/runs/{run}/live")
    expect(plain_page.locator("#how-far")).to_have_text(re.compile("of 240 requests"))
    axe(page)
    # Its end: the button to stop it goes, the one to compare comes, everything is visible everywhere.
    expect(page.get_by_role("button", name="Compare now")).to_be_visible(timeout=LATER)
    expect(page.get_by_role("button", name="Stop the load")).to_have_count(0)
    expect(far).to_have_text("240 of 240 requests have finished; the load is over.")
    rows = page.locator("#now tbody tr")
    expect(rows).to_have_count(6)
    for row in rows.all():
        expect(row).to_contain_text("✓ all", timeout=LATER)
    axe(page)
    # To the run's own page by itself.
    page.get_by_role("button", name="Compare now").click()
    page.wait_for_url(re.compile(rf"/runs/{run}$"), timeout=LATER)
    expect(page.get_by_role("heading", level=1)).to_contain_text(run)
    manifest = load_run(sandbox.settings(), run).manifest
    assert (manifest.profile, manifest.planned, manifest.finished) == ("smoke", 240, 240)


def test_a_load_is_stopped_and_without_javascript_compared(plain_page: Page, site: str, sandbox: Sandbox) -> None:
    plain_page.goto(f"{site}/loads/new")
    fill(plain_page, 3000)
    plain_page.get_by_role("button", name="Start").click()
    plain_page.wait_for_url(re.compile("/live$"), timeout=SOON)
    run = run_of(plain_page)
    sandbox_run = load_run(sandbox.settings(), run)
    plain_page.get_by_role("button", name="Stop the load").click()
    # The page asks for itself again.
    expect(plain_page.locator("#how-far")).to_contain_text("the load was stopped before its end", timeout=SOON)
    assert load_run(sandbox.settings(), run).manifest.finished is not None
    until(lambda: sandbox_run.loader is None, 60, "the load's process to end")


def test_what_cannot_be_is_said_at_its_field(any_page: Page, site: str) -> None:
    any_page.goto(f"{site}/loads/new")
    # As a browser would send it that checks nothing.
    any_page.locator("form.load").evaluate("(form) => { form.noValidate = true }")
    any_page.get_by_label("Requests").fill("0")
    expect_status(any_page, 400)
    any_page.get_by_role("button", name="Start").click()
    expect(any_page.get_by_role("alert")).to_contain_text("Nothing was started: requests")
    expect(any_page.get_by_label("Requests")).to_have_attribute("aria-invalid", "true")
    axe(any_page)
    no_sideways_scroll(any_page)
    assert_inert(any_page)


def test_an_application_that_is_down_is_said_before_and_after(page: Page, site: str, sandbox: Sandbox) -> None:
    sandbox.process("stop", "cruddur")
    try:
        page.goto(f"{site}/loads/new")
        expect(page.locator(".problem")).to_contain_text("the application does not answer")
        expect_status(page, 503)
        page.get_by_role("button", name="Start").click()
        expect(page.locator(".problem")).to_contain_text("`make up` starts it")
        axe(page)
    finally:
        sandbox.process("start", "cruddur")
