"""Every relative link of the documentation leads somewhere: to a file of the repository, and to a heading that is in it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from compose.settings import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
CODE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`[^`\n]+`")


def links(page: Path) -> list[str]:
    """The links of a page to files and headings; code has none."""
    prose = SPAN.sub(lambda match: match[0] if "](" not in match[0] else "", CODE.sub("", page.read_text()))
    return [each for each in LINK.findall(prose) if not re.match(r"[a-z]+:", each)]


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub makes anchors of them: lower case, no punctuation, hyphens for spaces, repeated ones counted."""
    found: Counter[str] = Counter()
    names = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", CODE.sub("", page.read_text()), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name if page.parent == ROOT else f"docs-{page.name}")
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or not target.is_relative_to(ROOT):
            wrong.append(f"{link}: there is no such file")
        elif anchor and (target.suffix != ".md" or anchor not in anchors(target)):
            wrong.append(f"{link}: there is no such heading in {target.name}")
    assert not wrong, wrong


def test_the_links_are_found_at_all() -> None:
    assert "docs/running.md" in links(ROOT / "README.md")
    assert "the-json-document" in anchors(ROOT / "docs" / "compare.md")


def test_every_page_is_in_the_index() -> None:
    index = set(links(ROOT / "docs" / "README.md"))
    assert {page.name for page in PAGES if page.parent != ROOT} - {"README.md"} <= index


def test_every_picture_is_on_a_page() -> None:
    pictures = {picture.name for picture in (ROOT / "docs" / "images").glob("*.png")}
    shown = {Path(link).name for page in PAGES for link in links(page) if link.endswith(".png")}
    assert pictures == shown, "docs/images and the pages differ: make screenshots, or take the picture out of tests/browser/screenshots.py"
