"""That the other tests of this folder can fail: each fault that they look for is made here, and found."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import pytest
from flask import Flask, Response
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect
from werkzeug.serving import make_server

from tests.browser.checks import assert_inert, axe, no_sideways_scroll
from tests.browser.watch import Watch, expect_status, watch_of

GOOD = "<h1>Good</h1><p>Nothing to see.</p><p id=size></p>"
#: What each path of the site shows; its policy allows scripts and styles of its own origin, and nothing within the page.
PAGES = {
    "/good": GOOD,
    "/inline-style": "<h1>Style</h1><p style='color: red'>Red</p>",
    "/inline-script": "<h1>Script</h1><script>document.title = 'ran'</script>",
    "/console": "<h1>Console</h1><script src=/static/console.js></script>",
    "/throws": "<h1>Throws</h1><script src=/static/throws.js></script>",
    "/later": "<h1>Later</h1><script src=/static/later.js></script>",
    "/dialog": "<h1>Dialog</h1><script src=/static/dialog.js></script>",
    "/foreign": "<h1>Foreign</h1><a href=http://example.test/>away</a>",
    "/broken-picture": "<h1>Picture</h1><img alt='' src=/nowhere.png>",
    "/unnamed-button": "<h1>Button</h1><button></button>",
    "/faint": "<h1>Faint</h1><p class=faint>Hardly there</p>",
    "/wide": "<h1>Wide</h1><div class=wide>wide</div>",
    "/wide-within": "<h1>Wide</h1><div class=scrolls tabindex=0><div class=wide>wide</div></div>",
    "/wide-positioned": "<h1>Wide</h1><div class=scrolls tabindex=0><div class=wide><i class=far>far</i></div></div>",
    "/element": "<h1>Hostile</h1><b data-hostile>bold</b>",
    "/handler": "<h1>Hostile</h1><b onclick='hostileRan=1'>bold</b>",
    "/address": "<h1>Hostile</h1><a href='java\tscript:hostileRan=1'>go</a>",
    "/address-of-data": "<h1>Hostile</h1><a href=' data:text/html,x'>go</a>",
    "/control": "<h1>Hostile</h1><p>a\x1b[31mb</p>",
    "/bidi": "<h1>Hostile</h1><p>a\u202eb</p>",
    "/right-to-left": "<h1>Hostile</h1><p>a שלום b</p>",
    "/right-to-left-isolated": "<h1>Hostile</h1><p>a <bdi>שלום</bdi> b</p>",
    "/ran": "<h1>Hostile</h1><script src=/static/ran.js></script>",
}
SCRIPTS = {
    "console": "console.error('something is wrong')",
    "throws": "setTimeout(() => { throw new Error('nobody catches this') })",
    "later": "setTimeout(() => { console.error('a moment later') }, 5)",
    "dialog": "alert('hello')",
    "ran": "window.hostileRan = 'log line'",
}
#: What is heard of a page that does what no page may.
FAULTS = {
    "/inline-style": r"Content-Security-Policy: style-src-attr forbids inline",
    "/inline-script": r"Content-Security-Policy: script-src-elem forbids inline",
    "/console": r"console error: something is wrong \(.*/static/console.js:0\)",
    "/throws": r"uncaught error: nobody catches this",
    "/later": r"console error: a moment later",
    "/dialog": r"a dialog opened \(alert\): hello",
    "/broken-picture": r"GET .*/nowhere.png was answered 404",
    "/nowhere": r"GET .*/nowhere was answered 404",
}
#: What is found on a page on which telemetry came alive.
ALIVE = {
    "/element": "made from telemetry: <b data-hostile",
    "/handler": "a handler in an attribute: <b onclick",
    "/address": "an address that is a program: java\tscript:",
    "/address-of-data": "an address that is a program:  data:",
    "/control": "U+001b stands in a text",
    "/bidi": "U+202e stands in a text",
    "/right-to-left": "letters from right to left are not isolated: <p>",
    "/ran": "a script from telemetry ran: log line",
}
STYLE = (
    "body { background: #fff; color: #222 } .faint { color: #eee } "
    ".wide { width: 2000px } .scrolls { overflow-x: auto } .far { position: absolute; left: 900px }"
)


def small_site() -> Flask:
    site = Flask(__name__, static_folder=None)

    @site.get("/static/<name>.js")
    def script(name: str) -> Response:
        return Response(SCRIPTS[name], mimetype="text/javascript")

    @site.get("/style.css")
    def style() -> Response:
        return Response(STYLE, mimetype="text/css")

    @site.get("/<path:path>")
    def shown(path: str) -> Response:
        if f"/{path}" not in PAGES:
            return Response("not here", 404, mimetype="text/plain")
        head = (
            "<!doctype html><html lang=en><title>Site</title><meta name=viewport content='width=device-width'>"
            "<link rel=stylesheet href=/style.css>"
        )
        answer = Response(f"{head}<main>{PAGES[f'/{path}']}</main>")
        answer.headers["Content-Security-Policy"] = "default-src 'self'; base-uri 'none'"
        return answer

    return site


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = make_server("127.0.0.1", 0, small_site(), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def unwatched(browser: Browser) -> Iterator[BrowserContext]:
    """A context whose watch is asked by the test and not after it."""
    context = browser.new_context()
    yield context
    context.close()


def test_a_good_page_passes_every_check_at_each_width_and_in_each_scheme(any_page: Page, site: str) -> None:
    any_page.goto(f"{site}/good")
    expect(any_page.get_by_role("heading")).to_have_text("Good")
    axe(any_page)
    no_sideways_scroll(any_page)
    assert_inert(any_page)


def test_the_fixtures_are_what_they_are_called(page: Page, phone: Page, dark_page: Page, dark_phone: Page, plain_page: Page) -> None:
    dark = "matchMedia('(prefers-color-scheme: dark)').matches"
    for each, width, is_dark in ((page, 1280, False), (phone, 390, False), (dark_page, 1280, True), (dark_phone, 390, True)):
        assert each.evaluate(f"[innerWidth, {dark}]") == [width, is_dark]
    assert page.evaluate("Intl.DateTimeFormat().resolvedOptions().timeZone") == "UTC"
    assert plain_page.viewport_size == {"width": 1280, "height": 800}


def test_without_javascript_no_script_of_the_page_runs(plain_page: Page, plain_phone: Page, site: str) -> None:
    for each in (plain_page, plain_phone):
        each.goto(f"{site}/console")
        expect(each.get_by_role("heading")).to_have_text("Console")
        assert watch_of(each).faults == []


@pytest.mark.parametrize("path", FAULTS)
def test_what_no_page_may_do_fails_the_test_that_opened_it(unwatched: BrowserContext, site: str, path: str) -> None:
    watch = Watch(unwatched)
    unwatched.new_page().goto(site + path)
    with pytest.raises(AssertionError, match=FAULTS[path]):
        watch.check()


def test_a_request_to_another_origin_fails_the_test_and_reaches_nobody(unwatched: BrowserContext, site: str) -> None:
    watch = Watch(unwatched)
    page = unwatched.new_page()
    page.goto(f"{site}/foreign")
    with pytest.raises(Error, match="ERR_NAME_NOT_RESOLVED"), page.expect_navigation():
        page.get_by_role("link").click()
    with pytest.raises(AssertionError, match=r"asked another origin than http://127.0.0.1:\d+: GET http://example.test/ \(document\)"):
        watch.check()


def test_an_answer_that_is_expected_is_no_fault(page: Page, site: str) -> None:
    expect_status(page, 404)
    page.goto(f"{site}/nowhere")
    expect(page.locator("body")).to_have_text("not here")


@pytest.mark.parametrize(
    ("path", "finding"),
    [("/unnamed-button", r"critical: .*\(button-name\)"), ("/faint", r"serious: .*\(color-contrast\)")],
    ids=["unnamed-button", "faint"],
)
def test_axe_names_what_is_serious_where_and_why(page: Page, site: str, path: str, finding: str) -> None:
    page.goto(site + path)
    with pytest.raises(AssertionError, match=finding):
        axe(page)
    axe(page, within="h1")


def test_a_page_that_scrolls_sideways_is_found_with_what_makes_it_wide(phone: Page, site: str) -> None:
    phone.goto(f"{site}/wide")
    with pytest.raises(AssertionError, match=r'2\d{3} px wide in a window of 390 px:\s+<div class="wide">'):
        no_sideways_scroll(phone)
    phone.goto(f"{site}/wide-positioned")
    with pytest.raises(AssertionError, match=r'<i class="far">'):
        no_sideways_scroll(phone)
    phone.goto(f"{site}/wide-within")
    no_sideways_scroll(phone)


@pytest.mark.parametrize("path", ALIVE)
def test_telemetry_that_came_alive_is_found(unwatched: BrowserContext, site: str, path: str) -> None:
    page = unwatched.new_page()
    page.goto(site + path)
    with pytest.raises(AssertionError, match=re.escape(ALIVE[path])):
        assert_inert(page)


def test_letters_from_right_to_left_may_stand_isolated(page: Page, site: str) -> None:
    page.goto(f"{site}/right-to-left-isolated")
    assert_inert(page)
