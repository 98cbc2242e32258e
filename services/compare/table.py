"""The report for people: what arrived on each path, how well, what differs and why. Fits 120 columns; colours never stand alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from compose.settings import SignalPath
from services.compare.model import AS_EXPECTED, DIFFERS, Finding, Verdict
from services.compare.prices import units
from services.compare.report import ALL_AS_EXPECTED, SOMETHING_DIFFERS, Report

#: Columns the report is laid out for.
WIDTH: Final = 120
#: Findings and strays that are shown; all are in the JSON document.
SHOWN: Final = 10

_HEADS: Final = {
    Verdict.SEEN: "seen",
    Verdict.NOT_EXPECTED: "not ex-\npected",
    Verdict.NOT_SAMPLED: "not\nsampled",
    Verdict.PARTIAL: "partial",
    Verdict.MISSING: "missing",
    Verdict.DUPLICATE: "dupli-\ncate",
    Verdict.PENDING: "pending",
    Verdict.UNREADABLE: "unread-\nable",
    Verdict.UNKNOWN: "unknown",
}
_STATES: Final = {
    "settled": ("✓ read", "green"),
    "changing": ("… changing", "yellow"),
    "unreadable": ("? unreadable", "yellow"),
    "off": ("– off", "dim"),
}
#: What a verdict means, for the ones that need saying.
_MEANINGS: Final = {
    Verdict.NOT_EXPECTED: "this request makes no such signal, or nobody saw its answer",
    Verdict.NOT_SAMPLED: "a sampling decision, not a loss",
    Verdict.PARTIAL: "some of its signals are absent",
    Verdict.MISSING: "none of its signals arrived",
    Verdict.DUPLICATE: "something arrived more than once",
    Verdict.PENDING: "absent, and the path was still changing when the wait was over",
    Verdict.UNREADABLE: "the backend could not be read",
    Verdict.UNKNOWN: "absent, and the backend cannot say why",
}


def show(report: Report, console: Console) -> None:
    """Print the report."""
    parts: list[RenderableType] = [_title(report), _arrived(report), _legend(report), _measured(report)]
    if report.metrics:
        parts.append(_metrics(report))
    parts += _unreadable(report)
    if report.judgement.findings:
        parts.append(_findings(report))
    if report.judgement.strays:
        parts.append(_strays(report))
    parts.append(_conclusion(report))
    console.print(Group(*parts))


def _title(report: Report) -> Text:
    about = report.about
    made = [f"profile {about['profile']}", f"seed {about['seed']}", f"sampling {about['sampling']}"]
    # Instead of what is the other run's.
    made = [f"replay of {about['replay_of']}"] if about.get("replay_of") else made
    words = [f"{report.judgement.requests:,} requests", *made, str(about["mode"]), str(about["started"])]
    return Text.assemble("\n", ("Run ", "bold"), (report.run, "bold cyan"), "  ", " · ".join(words), "\n")


def _arrived(report: Report) -> Table:
    table = _table("Did it arrive?  requests by verdict")
    table.add_column("path", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for head in _HEADS.values():
        table.add_column(head, justify="right")
    for path in SignalPath:
        word, style = _STATES[report.state(path)]
        cells: list[Text] = []
        for verdict in _HEADS:
            count = report.judgement.counts.get(path, {}).get(verdict)
            cells.append(Text("—", "dim") if count is None else Text("·", "dim") if not count else Text(f"{count:,}", _colour(verdict)))
        table.add_row(Text(path), Text(word, style), *cells)
    return table


def _legend(report: Report) -> RenderableType:
    present = [verdict for verdict in _MEANINGS if any(counts[verdict] for counts in report.judgement.counts.values())]
    lines = [f"{verdict}: {_MEANINGS[verdict]}" for verdict in present]
    if any(report.state(path) == "off" for path in SignalPath):
        lines.append("off: this path was switched off when the run was made; nothing is missing from it")
    return Padding(Text("\n".join(lines), "dim"), (0, 0, 1, 1))


def _measured(report: Report) -> Table:
    table = _table("How well?")
    table.add_column("path", no_wrap=True)
    table.add_column("errors\ncaptured", justify="right")
    table.add_column("visible after\np50 / p99", justify="right")
    table.add_column("Δ duration\np50 / p99", justify="right")
    table.add_column("attributes\nkept", justify="right")
    table.add_column("renamed\nor lost", justify="left", overflow="fold")
    table.add_column("billed units", justify="right", no_wrap=True)
    table.add_column("cost", justify="right")
    for path in SignalPath:
        measures = report.judgement.measures.get(path)
        if measures is None or report.state(path) == "unreadable":
            table.add_row(Text(path), *[Text("—", "dim")] * 7)
            continue
        price, billed = report.prices.of(path), units(path, measures)
        cost = price.cost(billed)
        kept = [each for each in report.judgement.attributes if each.path is path]
        found = sum(each.kept + each.renamed + each.changed for each in kept)
        declared = found + sum(each.dropped for each in kept)
        renamed = sum(1 for each in kept if each.renamed)
        odd = [f"{renamed} renamed"] if renamed else []
        odd += [f"{each.key} changed ×{each.changed:,}" for each in kept if each.changed]
        odd += [f"{each.key} lost ×{each.dropped:,}" for each in kept if each.dropped]
        table.add_row(
            Text(path),
            f"{measures.errors:,}",
            _seconds_pair(measures.visible_s),
            _milliseconds_pair(measures.duration_difference_ms),
            f"{100 * found / declared:.4g} %" if declared else Text("—", "dim"),
            Text(_few(odd), "yellow" if any(each.changed or each.dropped for each in kept) else "dim"),
            _units(billed, price.unit),
            Text("—", "dim") if cost is None else _dollars(cost),
        )
    table.caption = Text(
        "visible after: from the answer until the backend had everything; — where it does not say.  Δ: the ledger's duration minus the "
        f"backend's.\ncost: list prices of {report.prices.as_of}, before free tiers; — where no price of a unit is published. X-Ray "
        "bills a trace once, however it came.",
        "dim",
    )
    table.caption_justify = "left"
    return table


def _metrics(report: Report) -> RenderableType:
    table = _table("Metrics: totals over the run")
    for head in ("path", "metric"):
        table.add_column(head, no_wrap=True)
    for head in ("ledger", "backend"):
        table.add_column(head, justify="right")
    table.add_column("")
    for total in report.metrics:
        low, high = total.expected
        expected = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        if total.observed is None:
            table.add_row(total.path, total.name, expected, Text("—", "dim"), Text("? unreadable", "yellow"))
        else:
            word = Text("✓ equal", "green") if total.agrees else Text("✗ differs", "red")
            table.add_row(total.path, total.name, expected, f"{total.observed:,.10g}", word)
    return Padding(table, (1, 0, 0, 0))


def _unreadable(report: Report) -> list[RenderableType]:
    lines: list[RenderableType] = []
    told: set[str] = set()
    for path, state in report.states.items():
        if state.unreadable is not None:
            told.add(state.unreadable)
            hint = report.hints.get(path)
            lines.append(
                Text.assemble(
                    ("\n? ", "yellow"), (path, "bold"), f" could not be read: {state.unreadable}", f". Next: {hint}" if hint else ""
                )
            )
    for total in report.metrics:
        if total.reason is not None and total.reason not in told:
            told.add(total.reason)
            lines.append(Text.assemble(("\n? ", "yellow"), ("metrics", "bold"), f" on {total.path} could not be read: {total.reason}"))
    return lines


def _findings(report: Report) -> RenderableType:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), expand=False)
    table.add_column(no_wrap=True)
    table.add_column()
    pairs = list(zip(report.judgement.findings, report.why, strict=True))
    for finding, why in pairs[:SHOWN]:
        table.add_row(
            Text(f"#{finding.sequence}", "bold"),
            Text.assemble(
                (finding.path, "bold"),
                " ",
                (finding.verdict, _colour(finding.verdict)),
                f"  {_request(finding)}  trace {finding.trace_id}\n",
                (why, ""),
            ),
        )
    rest = len(pairs) - SHOWN
    head = Text.assemble("\n", (f"Not as expected: {len(pairs):,}", "bold"), ("" if rest <= 0 else f", the first {SHOWN}"))
    tail = Text("" if rest <= 0 else f"{rest:,} more: `make compare RUN={report.run} FORMAT=json` lists them all", "dim")
    first = pairs[0][0].trace_id
    return Group(
        head,
        table,
        tail,
        Text(f"`make trace ID={first}` shows one as every path saw it, `make open` all of them", "dim"),
    )


def _strays(report: Report) -> RenderableType:
    strays = report.judgement.strays
    groups: dict[tuple[str | None, str], Counter[str]] = {}
    for stray in strays:
        groups.setdefault((stray.trace_id, stray.why), Counter())[f"{stray.path} {stray.what}"] += 1
    lines = [Text.assemble("\n", (f"Stray: {len(strays):,}", "bold"), " observed, but no ledger line explains it")]
    for (trace_id, why), what in list(groups.items())[:SHOWN]:
        lines.append(Text.assemble(f"  trace {trace_id or '—'}: {why}\n", (f"    {_few(list(what))}", "dim")))
    if len(groups) > SHOWN:
        lines.append(Text(f"  {len(groups) - SHOWN:,} more traces: `make compare RUN={report.run} FORMAT=json`", "dim"))
    return Group(*lines)


def _conclusion(report: Report) -> Text:
    mark, style = {ALL_AS_EXPECTED: ("✓", "bold green"), SOMETHING_DIFFERS: ("✗", "bold red")}.get(report.exit_status, ("?", "bold yellow"))
    return Text.assemble("\n", (f"{mark} {report.conclusion}", style))


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1),
        pad_edge=False,
        header_style="dim",
    )


def _colour(verdict: Verdict) -> str:
    return "green" if verdict in AS_EXPECTED else "red" if verdict in DIFFERS else "yellow"


def _request(finding: Finding) -> str:
    status = "no answer" if finding.status is None else str(finding.status)
    return f"{finding.route} → {status}" + ("" if finding.outcome == "ok" else f" ({finding.outcome})")


def _few(words: Sequence[str]) -> str:
    return ", ".join(words[:2]) + (f" and {len(words) - 2} more" if len(words) > 2 else "")


def _units(count: int, unit: str) -> str:
    if unit == "byte":
        return f"{count / 1e6:,.2f} MB"
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def _dollars(cost: float) -> str:
    return f"${cost:.4f}" if cost >= 0.0001 or cost == 0 else "< $0.0001"


def _seconds_pair(pair: tuple[float, float] | None) -> Text | str:
    return Text("—", "dim") if pair is None else f"{pair[0]:.2f} / {pair[1]:.2f} s"


def _milliseconds_pair(pair: tuple[float, float] | None) -> Text | str:
    return Text("—", "dim") if pair is None else f"{pair[0]:.1f} / {pair[1]:.1f} ms"
