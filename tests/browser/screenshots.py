"""Takes the pictures of the pages for README and docs, from a real run that it makes itself: ``make screenshots``.

    python -m tests.browser.screenshots             # all of PICTURES, into docs/images/
    python -m tests.browser.screenshots run runs    # some of them

Each is 1280 pixels wide, and 800 high where its line does not say otherwise. A picture that is larger than 250 KB, or whose page did what
no page may (`watch.py`), is refused and the old one stays. Exit status: 0 all were taken, 1 not all.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Error, sync_playwright

from compose.settings import ROOT
from services.compare.web.vendors.xray.times import stamp
from tests.browser.chromium import ChromiumError, launch
from tests.browser.runs import SETTLE, RealRun, real_run
from tests.browser.watch import Watch
from tests.sandbox import Sandbox


@dataclass(frozen=True)
class Picture:
    """``name``: of the file, without ``.png``. ``address``: of the page. ``of``: a selector that is scrolled to the top, or the top.
    ``height``: in pixels."""

    name: str
    address: Callable[[RealRun], str]
    of: str = ""
    dark: bool = False
    height: int = 800


#: The pictures. Another page is another line.
PICTURES = (
    Picture("runs", lambda run: f"{run.site}/"),
    Picture("run", lambda run: run.url()),
    Picture("request", lambda run: run.request_url(shown_request(run)), height=1330),
    Picture("request-dark", lambda run: run.request_url(shown_request(run)) + "#waterfall", dark=True, height=900),
    Picture("service-map", lambda run: f"{run.site}/vendors/xray/map?{time_of(run)}", height=1000),
    Picture("cost", lambda run: run.url("/cost")),
    Picture("two-runs", lambda run: run.url(f"/with/{run.sandbox.runs()[0]}?thresholds={ACCEPTED}")),
)

#: Only what was lost is of interest: how fast a machine is while it takes pictures is not.
ACCEPTED = "slower=off later=off lost=0%25 cost=10%25"

FOLDER = ROOT / "docs" / "images"
WIDTH = 1280
LARGEST = 250_000
#: Requests of the run that is shown: enough for a plot to have a shape.
REQUESTS = 400


def shown_request(run: RealRun) -> str:
    """A lost request of which the other paths show something inside; the trace id."""
    lost = [row for row in run.report["not_as_expected"] if (row["path"], row["verdict"]) == ("xray/sdk", "missing")]
    shown: str = max(lost, key=lambda row: (row["route"] == "GET /api/activities/home", len(row["absent"]), -row["sequence"]))["trace_id"]
    return shown


def time_of(run: RealRun) -> str:
    """The time of a run, as X-Ray's pages take it."""
    entries = run.entries()
    return f"from={stamp(min(each.start for each in entries) - 1)}&to={stamp(max(each.start for each in entries) + 3)}"


def take(browser: Browser, run: RealRun, picture: Picture, folder: Path = FOLDER) -> Path:
    """Take one picture; its file. Raises AssertionError, and leaves an older picture in place, where the page or the file is not right."""
    context = browser.new_context(
        viewport={"width": WIDTH, "height": picture.height},
        color_scheme="dark" if picture.dark else "light",
        reduced_motion="reduce",
        locale="en-US",
        timezone_id="UTC",
    )
    try:
        watch = Watch(context)
        page = context.new_page()
        page.goto(picture.address(run), wait_until="networkidle")
        if picture.of:
            page.locator(picture.of).first.evaluate("(element) => element.scrollIntoView({block: 'start'})")
        watch.check()
        taken = page.screenshot(animations="disabled", caret="hide", scale="css")
    finally:
        context.close()
    assert len(taken) <= LARGEST, f"{picture.name}.png would have {len(taken):,} bytes, more than {LARGEST:,}: show less"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{picture.name}.png"
    file.write_bytes(taken)
    return file


def main(names: Sequence[str]) -> int:
    known = {picture.name: picture for picture in PICTURES}
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"screenshots: there is no picture {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 1
    status = 0
    try:
        with sync_playwright() as playwright, tempfile.TemporaryDirectory(prefix="parallax-") as folder:
            browser = launch(playwright)
            with Sandbox.start(Path(folder), settle=SETTLE) as sandbox:
                sandbox.compare(sandbox.load(REQUESTS), status=0)
                run = real_run(sandbox, REQUESTS)
                for name in names or known:
                    try:
                        file = take(browser, run, known[name])
                        print(f"{file.relative_to(ROOT)}  {file.stat().st_size // 1000} KB")
                    except (AssertionError, Error) as error:
                        print(f"screenshots: {name}: {error}", file=sys.stderr)
                        status = 1
            browser.close()
    except ChromiumError as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
