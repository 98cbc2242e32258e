"""The web page of a large run: until a browser paints it, and until the server's answer begins.

The records are made by the code that makes them of real runs, with losses on every path and without any vendor
(:mod:`tests.compared_runs`); the page is served by its own process, ``python -m services.compare.web``. Each load is that of somebody who
was never there: a browser context of its own, so that style sheets and scripts are fetched, too. What is read is the browser's own
account of it: *first paint* is the entry ``first-contentful-paint`` (W3C, "Paint Timing"), milliseconds since the navigation began;
*first byte* is ``responseStart`` minus ``requestStart`` of the navigation (W3C, "Resource Timing"), the server's part of them.

A page is loaded in two ways, in turns. *First view*: a compare has just replaced the run's record, so that nothing of it is open and no
answer is known. *Again*: the record was looked at before.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import requests
from playwright.sync_api import Browser, sync_playwright

from compose.settings import ROOT, Settings, SignalPath
from loadtest.ledger import LedgerEntry
from loadtest.runs import Run, open_run
from services.compare.readers.base import Observation
from services.compare.record import RECORD, document
from tests.api.servers import environment, hermetic_settings
from tests.bench.figures import Figure
from tests.browser.chromium import launch
from tests.compared_runs import make_run
from tests.ports import free_ports
from tests.waiting import until

#: Loads of each page of each run in each of the two ways.
LOADS = 15
#: Milliseconds to the first paint at the median, with 10,000 requests.
ALLOWED_RUN = 300.0
ALLOWED_REQUEST = 500.0
#: Milliseconds that one load may take before the benchmark gives up.
PATIENCE = 120_000

_TIMING = """() => new Promise(resolve => {
  const [navigation] = performance.getEntriesByType("navigation");
  new PerformanceObserver(list => {
    for (const entry of list.getEntriesByName("first-contentful-paint"))
      resolve([entry.startTime, navigation.responseStart - navigation.requestStart]);
  }).observe({type: "paint", buffered: true});
})"""


@dataclass(frozen=True)
class Page:
    """A page of a run. ``address``: below the run's own, given the run and the number of the load."""

    name: str
    address: Callable[[Run, int], str]
    allowed: float | None = None


@dataclass(frozen=True)
class Timing:
    """Milliseconds until the first paint, and of them until the first byte of the answer."""

    paint: float
    byte: float


@dataclass(frozen=True)
class Medians:
    """Of the loads of a page in either way."""

    first: Timing
    again: Timing


def _request(run: Run, load: int) -> str:
    """Another request each time, from the whole of the run."""
    entries = _ledger(run.folder)
    return f"/requests/{entries[load * len(entries) // (LOADS + 1) % len(entries)].trace_id}"


@cache
def _ledger(folder: Path) -> list[LedgerEntry]:
    return open_run(folder).entries()


RUN = Page("run", lambda _run, _load: "", ALLOWED_RUN)
REQUEST = Page("request", _request, ALLOWED_REQUEST)
REQUESTS = Page("list of requests", lambda _run, _load: "/requests")
COST = Page("cost", lambda _run, _load: "/cost")


# -- the runs


def spoiled(entry: LedgerEntry, whole: Observation) -> list[Observation]:
    """What arrives of a signal: on each path something is lost now and then, on some it comes twice, and errors go uncaptured."""
    path = list(SignalPath).index(whole.path)
    if entry.sequence % 211 == path:
        return []
    if entry.sequence % 503 == path and whole.kind in ("span", "log"):
        return [replace(whole, deliveries=2)]
    if entry.sequence % 307 == path and whole.duration_ms is not None:
        return [replace(whole, duration_ms=whole.duration_ms * 2)]
    return [whole]


def make(settings: Settings, count: int, number: int = 0) -> Run:
    """A run of ``count`` requests that was compared; ``number`` tells runs of one size apart."""
    return make_run(settings, count, run=f"20260105-08000{number}-{count // 100:04x}", spoil=spoiled)


def replaced(run: Run) -> None:
    """Make the record of a run a new one to whoever looks, as the next compare does."""
    found = document(run.folder)
    found["made"] += 1
    draft = run.folder / f"{RECORD}.new"
    draft.write_text(json.dumps(found, ensure_ascii=False, indent=1))
    draft.replace(run.folder / RECORD)


# -- loading


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """The process that serves the page, for a ``with``; its address without a slash at the end."""
    address = f"http://127.0.0.1:{settings.compare_port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "services.compare.web"],
        cwd=ROOT,
        env=environment(settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"the page's process ended with {process.returncode}")
        try:
            return requests.get(f"{address}/healthz", timeout=5).ok
        except requests.ConnectionError:
            return False

    try:
        until(answers, 60, "the page to be served")
        yield address
    finally:
        process.terminate()
        process.wait(30)


def load(browser: Browser, address: str) -> Timing:
    """One load in a browser context of its own."""
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        answer = page.goto(address, timeout=PATIENCE)
        if answer is None or not answer.ok:
            raise RuntimeError(f"{address} was answered {answer and answer.status}")
        paint, byte = page.evaluate(_TIMING)
        return Timing(paint, byte)


def medians(browser: Browser, site: str, page: Page, runs: Sequence[Run], loads: int) -> list[Medians]:
    """Of a page of each run, in turns, so that whatever else the machine does falls on all of them."""
    first: list[list[Timing]] = [[] for _ in runs]
    again: list[list[Timing]] = [[] for _ in runs]
    for number in range(loads):
        for run, opened, known in zip(runs, first, again, strict=True):
            address = f"{site}/runs/{run.id}{page.address(run, number)}"
            replaced(run)
            opened.append(load(browser, address))
            known.append(load(browser, address))
    return [Medians(_median(opened), _median(known)) for opened, known in zip(first, again, strict=True)]


def _median(timings: Sequence[Timing]) -> Timing:
    return Timing(statistics.median(each.paint for each in timings), statistics.median(each.byte for each in timings))


# -- measuring


def run(folder: Path, small: int, loads: int, say: Callable[[str], None]) -> list[Figure]:
    """``small``: requests of the smallest run; there is one of ten times and two of a hundred times as many."""
    (port,) = free_ports(1)
    settings = hermetic_settings(state_dir=folder / "pages", compare_port=port)
    sizes = (small, small * 10, small * 100)
    runs = []
    for count in sizes:
        say(f"pages: a run of {count:,} requests")
        runs.append(make(settings, count))
    say(f"pages: runs to hold against those of {sizes[1]:,} and {sizes[2]:,}")
    others = {each.id: make(settings, count, 1).id for each, count in zip(runs[1:], sizes[1:], strict=True)}
    contrast = Page("two runs", lambda run, _load: f"/with/{others[run.id]}")
    figures: list[Figure] = []
    with served(settings) as site, sync_playwright() as playwright, launch(playwright) as browser:
        load(browser, f"{site}/")  # The browser's own first steps, and the server's, are of no page.
        for page in (RUN, REQUEST, REQUESTS, COST):
            say(f"pages: {page.name}, with {sizes[0]:,} and {sizes[1]:,} requests")
            few, many = medians(browser, site, page, runs[:2], loads)
            figures += _figures(page, sizes[1], many, sizes[0], few)
        for page, compared in ((RUN, runs[1:]), (REQUESTS, runs[1:]), (contrast, runs[1:])):
            say(f"pages: {page.name}, with {sizes[2]:,} requests")
            few, many = medians(browser, site, page, compared, max(3, loads // 3))
            figures += _figures(replace(page, allowed=None), sizes[2], many, sizes[1], few)
    return figures


def _figures(page: Page, count: int, many: Medians, fewer: int, few: Medians) -> list[Figure]:
    reach = f"{page.allowed:g} ms" if page.allowed else ""
    result = []
    for way, whole, tenth in (("first view", many.first, few.first), ("again", many.again, few.again)):
        what = f"{page.name}, {count:,} requests, {way}"
        result.append(Figure(f"{what}: first paint, p50", whole.paint, "ms", f"of {fewer:,}", tenth.paint, reach))
        result.append(Figure(f"{what}: first byte, p50", whole.byte, "ms", f"of {fewer:,}", tenth.byte))
    return result
