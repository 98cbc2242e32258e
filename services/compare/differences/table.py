"""Two runs in the terminal: what differs first, then how much was looked at."""

from __future__ import annotations

from typing import Final

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from services.compare.differences.contrast import Contrast
from services.compare.differences.texts import RESULTS, change, value

#: Losses that are shown; the other forms have all.
SHOWN: Final = 10
_STYLES: Final = {"exceeded": "bold red", "worse": "yellow", "better": "green", "too few": "yellow", "unknown": "yellow", "same": "dim"}


def show(contrast: Contrast, console: Console) -> None:
    """Print it. Fits 120 columns."""
    after, before = contrast.after.document["run"], contrast.before.document["run"]
    console.print(Text.assemble("\nRun ", (after, "bold cyan"), " against ", (before, "bold cyan")))
    console.print(Text(f"Thresholds: {contrast.thresholds}\n", "dim"))
    shown = [check for check in contrast.checks if check.result != "same"]
    if shown:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for head in ("", "where", "what"):
            table.add_column(head, no_wrap=head == "where")
        for head in ("before", "after", "change", "accepted"):
            table.add_column(head, justify="right", no_wrap=True)
        for check in shown:
            values = (value(check.before, check.unit), value(check.after, check.unit), change(check), check.limit)
            what = f"{check.what}{f': {check.reason}' if check.reason else ''}"
            table.add_row(RESULTS[check.result][0], check.where, what, *values, style=_STYLES[check.result])
        console.print(table)
        marks = dict.fromkeys(check.result for check in shown)
        console.print(Text("  ".join(f"{RESULTS[mark][0]} {RESULTS[mark][1]}" for mark in marks) + "\n", "dim"))
    same = len(contrast.checks) - len(shown)
    console.print(Text(f"{same} of {len(contrast.checks)} checks show no difference.", "dim"))
    if contrast.losses:
        console.print(Text(f"\nAs expected before, and not now ({len(contrast.losses):,} listed):", "bold"))
        for loss in contrast.losses[:SHOWN]:
            console.print(Text.assemble(f"#{loss.sequence} {loss.path} ", (loss.verdict, "red"), f"  {loss.route}  trace {loss.trace_id}"))
            console.print(Padding(Text(loss.why, "dim"), (0, 0, 0, 5)))
        if len(contrast.losses) > SHOWN:
            console.print(Text(f"… {len(contrast.losses) - SHOWN:,} more: FORMAT=json lists them", "dim"))
    elif not contrast.same_plan:
        console.print(
            Text("The runs sent different requests (profile, seed or number), so requests are not held against each other.", "dim")
        )
    mark, style = {0: ("✓", "bold green"), 1: ("✗", "bold red")}.get(contrast.exit_status, ("⊘", "bold yellow"))
    conclusion = contrast.conclusion
    console.print(Text(f"\n{mark} {conclusion[0].upper()}{conclusion[1:]}.", style))
