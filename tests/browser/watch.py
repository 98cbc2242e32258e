"""What a page must never do, listened for in every test: console errors, errors nobody caught, violations of its own
Content-Security-Policy, dialogs, requests to anybody but its own origin, and answers of 400 and above that the test did not expect.

    expect_status(page, 404)             # before the page that answers 404 is opened
    watch_of(page).faults                # what was seen so far, one line each
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Error, Page, Request, Response

#: Runs before any script of the page, in every frame. (CSP3, "Violation DOM Events".)
LISTENER = """
document.addEventListener("securitypolicyviolation", ({effectiveDirective, blockedURI, sourceFile, lineNumber, sample}) =>
  parallaxViolation(`${effectiveDirective} forbids ${blockedURI || "inline"} at ${sourceFile || document.URL}:${lineNumber} ${sample}`));
"""
#: Two frames: what a handler or an observer has begun has been told by then. A page in the background has no frames, hence the bound.
TWO_FRAMES = """new Promise((done) => {
  requestAnimationFrame(() => requestAnimationFrame(() => done(true)));
  setTimeout(done, 500, false);
})"""
#: Chromium's console says this of every response that `response` and every failure that `requestfailed` tell with their address.
ALREADY_TOLD = "Failed to load resource:"
#: A request that the page itself gave up, because it was left or asked anew.
GIVEN_UP = "net::ERR_ABORTED"
#: Schemes that fetch nothing from anybody.
NO_ORIGIN = ("data", "blob", "about")

_watches: WeakKeyDictionary[BrowserContext, Watch] = WeakKeyDictionary()


class Watch:
    """Listens to everything one browser context does. Its own origin is that of the first page it opens."""

    def __init__(self, context: BrowserContext, javascript: bool = True) -> None:
        self.context = context
        self.javascript = javascript
        self.origin = ""
        self.faults: list[str] = []
        self.expected: set[int] = set()
        context.on("request", self._request)
        context.on("requestfailed", self._request_failed)
        context.on("response", self._response)
        context.on("console", self._console)
        context.on("weberror", lambda error: self.faults.append(f"uncaught error: {error.error.message}"))
        context.on("dialog", self._dialog)
        if javascript:
            context.expose_function("parallaxViolation", lambda text: self.faults.append(f"Content-Security-Policy: {text}"))
            context.add_init_script(LISTENER)
        _watches[context] = self

    def check(self) -> None:
        """Fail when anything was seen. What the page is doing at this moment is waited for."""
        for page in self.context.pages:
            try:
                page.wait_for_load_state("load")
                # Where no script runs, a promise is never kept.
                if self.javascript:
                    page.evaluate(TWO_FRAMES)
            except Error as error:
                self.faults.append(f"the page could not be asked: {error.message.splitlines()[0]}")
        assert not self.faults, "the page did what no page may:\n  " + "\n  ".join(self.faults)

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        origin = f"{address.scheme}://{address.netloc}"
        if address.scheme in NO_ORIGIN:
            return
        self.origin = self.origin or origin
        if origin != self.origin:
            self.faults.append(f"asked another origin than {self.origin}: {request.method} {request.url[:200]} ({request.resource_type})")

    def _request_failed(self, request: Request) -> None:
        if request.failure != GIVEN_UP:
            self.faults.append(f"{request.method} {request.url[:200]} failed: {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected:
            self.faults.append(f"{response.request.method} {response.url[:200]} was answered {response.status}")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(ALREADY_TOLD):
            where: Any = message.location
            self.faults.append(f"console error: {message.text[:500]} ({where.get('url')}:{where.get('lineNumber')})")

    def _dialog(self, dialog: Dialog) -> None:
        self.faults.append(f"a dialog opened ({dialog.type}): {dialog.message[:200]}")
        dialog.dismiss()


def watch_of(page: Page) -> Watch:
    """What listens to this page."""
    return _watches[page.context]


def expect_status(page: Page, *statuses: int) -> None:
    """Answers with these statuses are no fault from now on, in this test."""
    watch_of(page).expected.update(statuses)
