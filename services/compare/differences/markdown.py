"""Two runs as Markdown, for a pull request: what differs on top, everything that was checked folded below it."""

from __future__ import annotations

from collections.abc import Iterable

from services.compare.differences.contrast import Check, Contrast
from services.compare.differences.texts import RESULTS, change, value

#: Losses that are listed.
SHOWN = 20
#: What Markdown, a table of it, or HTML in it would take for its own.
_ESCAPES = {character: f"\\{character}" for character in "\\`*_[]#~"} | {"<": "&lt;", ">": "&gt;", "|": "&#124;", "&": "&amp;"}


def render(contrast: Contrast) -> str:
    """GitHub-flavoured Markdown."""
    after, before = contrast.after.document["run"], contrast.before.document["run"]
    mark = {0: "✓", 1: "✗"}.get(contrast.exit_status, "⊘")
    lines = [f"## {mark} Run `{after}` against `{before}`", "", _text(contrast.conclusion) + ".", ""]
    notable = [check for check in contrast.checks if check.result in ("exceeded", "unknown", "too few")]
    if notable:
        lines += [*_table(notable), ""]
    if contrast.losses:
        lines += [f"As expected before, and not now ({len(contrast.losses):,} listed):", ""]
        for loss in contrast.losses[:SHOWN]:
            which = f"`#{loss.sequence}` {_text(loss.path)} **{loss.verdict}** {_text(loss.route)}, trace `{loss.trace_id}`"
            lines.append(f"- {which}: {_text(loss.why)}")
        lines.append("")
    lines += [f"<details><summary>All {len(contrast.checks)} checks</summary>", "", *_table(contrast.checks), "", "</details>", ""]
    lines += [f"Thresholds: `{contrast.thresholds}`", ""]
    return "\n".join(lines)


def _table(checks: Iterable[Check]) -> list[str]:
    rows = ["| | where | what | before | after | change | accepted |", "|---|---|---|---:|---:|---:|---|"]
    for check in checks:
        what = f"{check.what}{f': {check.reason}' if check.reason else ''}"
        cells = (
            RESULTS[check.result][0],
            check.where,
            what,
            value(check.before, check.unit),
            value(check.after, check.unit),
            change(check),
            check.limit,
        )
        rows.append("| " + " | ".join(_text(cell) for cell in cells) + " |")
    return rows


def _text(text: str) -> str:
    """Text that came from telemetry, or may hold some: no markup, no new line, no new column."""
    flat = " ".join(text.split())
    return "".join(_ESCAPES.get(character, character) for character in flat)
