"""What can be asked of a page: is it accessible, does it fit, did telemetry stay text.

axe(page)                   # nothing serious or critical
no_sideways_scroll(page)    # at 390 px above all
assert_inert(page)          # nothing in it came alive
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
#: Impacts (axe-core's "Rule Descriptions") that fail a test; the others are printed.
FAILING = ("serious", "critical")

#: What is wider than the window, and not within something that scrolls for itself or cuts it off. What is positioned is cut off by what
#: it is positioned in, not by what it stands in.
WIDE = """() => {
  const width = document.documentElement.clientWidth;
  const box = (element) => getComputedStyle(element).position === "absolute" ? element.offsetParent : element.parentElement;
  const contained = (element) => {
    if (getComputedStyle(element).position === "fixed") return true;
    for (let up = box(element); up && up !== document.body; up = box(up)) {
      if (getComputedStyle(up).overflowX !== "visible" && up.getBoundingClientRect().right <= width + 1) return true;
    }
    return false;
  };
  const wide = [...document.body.querySelectorAll("*")].filter(
    (element) => element.getBoundingClientRect().right > width + 1 && !contained(element));
  return {
    scrolls: document.scrollingElement.scrollWidth > width,
    width, content: document.scrollingElement.scrollWidth,
    elements: wide.slice(0, 8).map((element) => `${element.outerHTML.slice(0, 120)}… ends at ${
      Math.round(element.getBoundingClientRect().right)} px`),
  };
}"""

#: What telemetry must not have become. `hostile.py` marks every element and attribute that it tries to make with `data-hostile`, and
#: every script that it tries to run sets `hostileRan`. A page shows control characters and marks that turn the direction as their
#: codes, so none may stand in a text; letters that are written from right to left must not move their neighbours (nor can they,
#: in a text that is only read aloud).
INERT = r"""() => {
  const found = [];
  const start = (element) => element.outerHTML.slice(0, 200);
  if (window.hostileRan !== undefined) found.push(`a script from telemetry ran: ${window.hostileRan}`);
  for (const element of document.querySelectorAll("*")) {
    if (element.hasAttribute("data-hostile")) found.push(`made from telemetry: ${start(element)}`);
    for (const {name, value} of element.attributes) {
      if (/^on/i.test(name)) found.push(`a handler in an attribute: ${start(element)}`);
      // The URL Standard strips controls and spaces in front, and tabs and line feeds anywhere.
      const isAddress = /^(href|src|action|formaction|xlink:href|hx-(get|post|put|patch|delete))$/i.test(name);
      if (isAddress && /^(javascript|vbscript|data):/i.test(value.replace(/[\x00-\x20]/g, "")))
        found.push(`an address that is a program: ${value.slice(0, 200)}`);
    }
  }
  const texts = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.data, parent = texts.currentNode.parentElement;
    if (parent.closest("script, style")) continue;
    const code = text.match(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/);
    if (code) found.push(`U+${code[0].codePointAt(0).toString(16).padStart(4, "0")} stands in a text: ${start(parent)}`);
    const isSeen = parent.getBoundingClientRect().width > 1;
    if (isSeen && /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/.test(text) && !parent.closest("bdi, [dir=auto], text, option, textarea"))
      found.push(`letters from right to left are not isolated: ${start(parent)}`);
  }
  return found.slice(0, 10);
}"""


def axe(page: Page, within: str = "") -> list[str]:
    """Check accessibility with axe-core, the whole page or what matches the selector ``within``; the findings that do not fail.

    Findings of impact serious or critical fail the test; the others are printed. The page's own scripts must be allowed to run:
    axe is one of them.
    """
    # By the debugger's way in, for which the page's Content-Security-Policy does not hold.
    page.evaluate(AXE.read_text(encoding="utf-8"))
    result: Any = page.evaluate("(within) => axe.run(within || document, {resultTypes: ['violations']})", within)
    failing: list[str] = []
    others: list[str] = []
    for finding in result["violations"]:
        (failing if finding["impact"] in FAILING else others).append(_described(finding))
    if others:
        print("\n".join(["axe, not serious:", *others]))
    assert not failing, "\n".join([f"axe finds at {page.url}:", *failing])
    return others


def _described(finding: dict[str, Any]) -> str:
    lines = [f"  {finding['impact']}: {finding['help']} ({finding['id']}) {finding['helpUrl']}"]
    for node in finding["nodes"][:5]:
        lines.append(f"    {' '.join(str(part) for part in node['target'])}  {node['html'][:160]}")
        lines += [f"      {line.strip()}" for line in (node.get("failureSummary") or "").splitlines()[1:4]]
    if len(finding["nodes"]) > 5:
        lines.append(f"    and {len(finding['nodes']) - 5} more")
    return "\n".join(lines)


def no_sideways_scroll(page: Page) -> None:
    """Fail when the page can be scrolled sideways, and name what makes it so wide."""
    found: Any = page.evaluate(WIDE)
    assert not found["scrolls"], f"{page.url} is {found['content']} px wide in a window of {found['width']} px:\n  " + "\n  ".join(
        found["elements"]
    )


def assert_inert(page: Page) -> None:
    """Fail when anything from telemetry came alive: a script, an element, a handler, an address, a control character.

    Dialogs fail every test (`watch.py`). To be asked once the page shows what it shall: it looks at the page as it is now.
    """
    found: Any = page.evaluate(INERT)
    assert not found, f"{page.url}: telemetry did not stay text:\n  " + "\n  ".join(found)
