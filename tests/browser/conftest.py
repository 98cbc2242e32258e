"""Fixtures of the browser tests. In a file `test_<page>.py` beside this one, all there is to do is:

    def test_the_matrix_names_every_path(page: Page, run: RealRun) -> None:
        page.goto(run.url())
        expect(page.get_by_role("rowheader")).to_have_count(6)
        axe(page)

| fixture       | what it is                                                                                       |
|---------------|--------------------------------------------------------------------------------------------------|
| `page`        | 1280 × 800 px, light                                                                             |
| `phone`       | 390 × 844 px, light                                                                              |
| `dark_page`, `dark_phone` | the same, dark                                                                       |
| `plain_page`, `plain_phone` | light, no JavaScript                                                               |
| `any_page`    | the first four, one after the other: the test runs four times                                    |
| `new_page`    | a function for more pages, or others: `new_page(width=640, dark=True, javascript=False)`         |

| `sandbox`     | everything up (`tests/sandbox.py`); a test that stops a process starts it again                   |
| `run`         | a load of 120 requests with errors, some lost on xray/sdk, compared: a `RealRun` (`runs.py`)     |
| `hostile`     | a run that means ill, on the same sandbox: a `HostileRun` (`hostile.py`)                         |

Each page is a `playwright.sync_api.Page` in a context of its own: no cookie, cache or storage of another test. Motion is reduced, the
language is American English and the time zone UTC. Playwright's `expect` waits, with a bound; nothing else needs to.

A test fails when its page did what no page may (`watch.py`), whether it asked or not: errors on the console, errors nobody caught,
violations of the Content-Security-Policy, dialogs, requests to another origin, answers of 400 and above. The last are allowed with
`expect_status(page, 404)` before.

Every test of this folder is run by the same process of pytest-xdist (`tests/conftest.py`), so that they share one browser, one
sandbox and one run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect, sync_playwright

from tests.browser.chromium import launch
from tests.browser.hostile import HostileRun, hostile_run
from tests.browser.runs import SETTLE, RealRun, real_run
from tests.browser.watch import Watch
from tests.sandbox import Sandbox

#: Makes a page: width in px, dark or light, with or without JavaScript.
NewPage = Callable[..., Page]

HEIGHTS = {1280: 800, 390: 844}
#: Milliseconds Playwright waits for anything, twice what the slowest page needs on a machine that does something else, too.
BOUND_MS = 15_000

_WATCHES = pytest.StashKey[list[Watch]]()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of this folder.

    Closed when the last of them is done and not with the process: while Playwright is there, so is an event loop that runs, and a
    test of another folder could not run its own.
    """
    with sync_playwright() as playwright:
        expect.set_options(timeout=BOUND_MS)
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[NewPage]:
    """A function that opens a page in a context of its own; all are closed with the test."""
    contexts: list[BrowserContext] = []
    watches = request.node.stash.setdefault(_WATCHES, [])

    def new(width: int = 1280, *, dark: bool = False, javascript: bool = True) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": HEIGHTS.get(width, 800)},
            color_scheme="dark" if dark else "light",
            java_script_enabled=javascript,
            reduced_motion="reduce",
            locale="en-US",
            timezone_id="UTC",
            service_workers="block",
        )
        contexts.append(context)
        context.set_default_timeout(BOUND_MS)
        watches.append(Watch(context, javascript))
        return context.new_page()

    yield new
    for context in contexts:
        context.close()


@pytest.fixture
def page(new_page: NewPage) -> Page:
    return new_page()


@pytest.fixture
def phone(new_page: NewPage) -> Page:
    return new_page(390)


@pytest.fixture
def dark_page(new_page: NewPage) -> Page:
    return new_page(dark=True)


@pytest.fixture
def dark_phone(new_page: NewPage) -> Page:
    return new_page(390, dark=True)


@pytest.fixture
def plain_page(new_page: NewPage) -> Page:
    return new_page(javascript=False)


@pytest.fixture
def plain_phone(new_page: NewPage) -> Page:
    return new_page(390, javascript=False)


@pytest.fixture(params=[(1280, False), (1280, True), (390, False), (390, True)], ids=["1280-light", "1280-dark", "390-light", "390-dark"])
def any_page(new_page: NewPage, request: pytest.FixtureRequest) -> Page:
    width, dark = request.param
    return new_page(width, dark=dark)


@pytest.fixture(scope="package")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox.start(tmp_path_factory.mktemp("browser"), settle=SETTLE) as started:
        yield started


@pytest.fixture(scope="package")
def run(sandbox: Sandbox) -> RealRun:
    return real_run(sandbox)


@pytest.fixture(scope="package")
def hostile(sandbox: Sandbox, run: RealRun) -> HostileRun:
    return hostile_run(sandbox, like=run.id)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[Any]:
    """After the test's own words, what its pages were heard doing; when it fails, a picture of each."""
    watches = item.stash.get(_WATCHES, [])
    try:
        result = yield
        for watch in watches:
            watch.check()
    except BaseException:
        _show(item, watches)
        raise
    return result


def _show(item: pytest.Item, watches: list[Watch]) -> None:
    """Add to a failed test's report what its pages did and where their pictures are."""
    folder = item.config.cache.mkdir("browser") if item.config.cache else None
    lines = [fault for watch in watches for fault in watch.faults]
    name = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in item.nodeid.split("tests/browser/")[-1])
    for number, page in enumerate(page for watch in watches for page in watch.context.pages):
        lines.append(f"at {page.url[:500]}")
        if folder is not None:
            try:
                page.screenshot(path=folder / f"{name[:150]}-{number}.png", timeout=5_000)
                lines.append(f"picture: {folder / f'{name[:150]}-{number}.png'}")
            except Error as error:
                lines.append(f"no picture: {error.message.splitlines()[0]}")
    if lines:
        item.add_report_section("call", "browser", "\n".join(lines))
