"""The tour (docs/tour.md), clicked through as it is written.

What it quotes in **bold** must be on the page at that point, in its order; what follows "click" is clicked, what follows "point at" is
pointed at, and an address in `code` is where one is then. "…" stands for what differs; the id of a run and a request's name stand
for those that are there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from playwright.sync_api import Locator, Page, expect

from compose.settings import ROOT
from loadtest.runs import RUN_ID
from tests.browser.hostile import HostileRun
from tests.browser.runs import RealRun

TOUR = ROOT / "docs" / "tour.md"
#: Where a reader is before the first click: what `make open` opens.
BEGIN = "## 3."
STEP = re.compile(r"(?:(?P<verb>click|point at)\s+)?\*\*(?P<quoted>[^*]+)\*\*|You\s+are\s+at\s+`(?P<address>/[^`]*)`", re.IGNORECASE)
REQUEST = re.compile(r"(GET|POST) \/\S*")
#: What an address may hold that differs.
DIFFERS = {"<id>": "{run}", "<trace id>": "[0-9a-f]{{32}}", "<other>": r"[0-9a-f-]+"}


def steps() -> Iterator[tuple[str, str]]:
    """What to do, in the order of the document: ("click" | "point at" | "see" | "be at", words)."""
    text = TOUR.read_text()
    prose = re.sub(r"^```.*?^```", "", text[text.index(BEGIN) :], flags=re.MULTILINE | re.DOTALL)
    for match in STEP.finditer(prose):
        if match["address"]:
            yield "be at", match["address"]
        else:
            yield (match["verb"] or "see").lower(), " ".join(match["quoted"].split())


def wording(quoted: str) -> re.Pattern[str]:
    """The quoted words as a whole, whatever stands for "…"; of a request, any."""
    if REQUEST.fullmatch(quoted):
        return REQUEST
    words = (re.escape(word).replace("…", ".+").replace("/", r"\/") for word in quoted.split(" "))
    return re.compile(r"^\s*" + r"\s+".join(words) + r"\s*$", re.DOTALL)


def control(page: Page, quoted: str) -> Locator:
    """The first link or button of this name within the content, else above it."""
    name = wording(quoted)
    for within in (page.get_by_role("dialog"), page.get_by_role("main"), page.locator("body")):
        found = within.get_by_role("link", name=name).or_(within.get_by_role("button", name=name)).filter(visible=True)
        if found.count():
            return found.first
    return page.get_by_role("link", name=name).first


def shown(page: Page, quoted: str) -> Locator:
    """What says so or is called so: a text, a heading, a field of a form, one of its choices."""
    name = wording(quoted)
    found = page.get_by_text(name)
    for role in ("heading", "combobox", "textbox", "caption"):
        found = found.or_(page.get_by_role(role, name=name))
    return found.or_(page.get_by_role("option", name=re.compile("^" + re.escape(quoted)))).first


def address(words: str, run: RealRun) -> re.Pattern[str]:
    pattern = re.escape(words)
    for differs, form in DIFFERS.items():
        pattern = pattern.replace(re.escape(differs), form.format(run=run.id))
    return re.compile(re.escape(run.site) + pattern + r"([?#].*)?$")


def test_the_tour_is_true(page: Page, run: RealRun, hostile: HostileRun) -> None:
    """On the run of these tests, of which xray/sdk lost some. (The other run that the tour speaks of is the one that means ill.)"""
    page.goto(f"{run.site}/")
    done = []
    for verb, words in steps():
        done.append(f"{verb} {words}")
        try:
            match verb:
                case "be at":
                    expect(page).to_have_url(address(words, run))
                case "see":
                    expect(shown(page, words)).to_be_attached()
                case "point at":
                    control(page, words).hover()
                    expect(page.locator(".same").nth(1)).to_be_visible()
                case "click" if RUN_ID.fullmatch(words):
                    page.get_by_role("link", name=run.id, exact=True).first.click()
                case _:
                    control(page, words).click()
                    page.wait_for_load_state()
        except AssertionError as error:
            before = ", ".join(done[-4:-1])
            raise AssertionError(f"the tour says: {done[-1]} (after: {before}); the page is {page.url}:\n{error}") from error
    kinds = [each.split(" ")[0] for each in done]
    assert (kinds.count("click"), kinds.count("be")) >= (14, 5), "the tour is shorter than it was, or its quotes are no longer found"
    expect(page).to_have_url(f"{run.site}/loads/new")
