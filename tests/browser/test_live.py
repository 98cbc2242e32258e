"""A load from its form to what arrived: started, watched and compared in the browser."""

from __future__ import annotations

import re
import shutil

import pytest
from playwright.sync_api import Page, expect

from loadtest.runs import MANIFEST, going_on, load_run, make_run, new_run_id
from services.compare.replay.progress import Progress
from tests.browser.checks import assert_inert, axe, no_sideways_scroll
from tests.browser.runs import RealRun, address
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
    least = 1
    for _ in range(2):  # it moves, without a reload
        expect(far).to_have_text(re.compile(rf"^({'|'.join(str(n) for n in range(least, 241))}) of 240 requests"), timeout=SOON)
        least = int(far.inner_text().split(" ")[0]) + 1
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


def test_a_replay_that_goes_on_can_be_read_and_leads_to_what_it_is_of_when_it_is_gone(
    page: Page, dark_phone: Page, site: str, sandbox: Sandbox, run: RealRun
) -> None:
    """Its folder as a replay makes it; the replay itself is in `tests/system/test_replay.py`."""
    manifest = load_run(sandbox.settings(), run.id).manifest
    new = new_run_id()
    replay = make_run(
        sandbox.settings(), manifest.model_copy(update={"run": new, "replay_of": run.id, "finished": None, "ended": None, "paths": []})
    )
    try:
        progress = Progress(replay.folder, {"traces": 1200, "logs": 300, "metrics": 10})
        for each in (page, dark_phone):
            each.goto(f"{site}/runs/{run.id}")
            each.get_by_role("link", name=new).click()
            expect(each.locator("#how-far")).to_contain_text("0 of 1,510 recorded items")
            axe(each)
            no_sideways_scroll(each)
            assert_inert(each)
        progress.say(sent={"traces": 1200, "logs": 300, "metrics": 10}, waiting=5)
        expect(page.locator("#how-far")).to_contain_text("the Collector still holds 5")
    finally:
        replay.complete()
        (replay.folder / MANIFEST).unlink()
        shutil.rmtree(replay.folder)
    # Each page asks again by itself, finds it gone, and goes where it came from.
    page.wait_for_url(f"{site}/runs/{run.id}?taken_back={new}")
    expect(page.get_by_text(f"The replay {new} was stopped, or failed")).to_be_visible()
    axe(page)
