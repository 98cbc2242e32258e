"""One request as every path saw it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, replace
from typing import Any, Final

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from compose.settings import Settings, SignalPath
from loadtest.ledger import LedgerEntry, LedgerError, mentions
from loadtest.runs import Run, RunError, load_run, runs
from services.compare.model import AS_EXPECTED, PathState, Verdict
from services.compare.paths import SAMPLED_KINDS
from services.compare.readers.base import Observation, Reader, sent_at, unreadable
from services.compare.verdicts import Comparison

#: Columns of the bar that shows when a span was.
BAR: Final = 30
#: Characters of attributes shown for one observation.
ATTRIBUTES: Final = 400
#: Attributes that say nothing the line does not say already, or nothing of this request.
_NOISE: Final = ("otel.", "telemetry.", "library.", "meta.", "trace.", "span.", "process.", "host.")
_SHOWN_ALREADY: Final = frozenset({"name", "service.name", "type", "error", "event", "event.name", "run", "trace_id"})


class NoSuchTrace(Exception):
    """An id that is no trace id. The message is one line."""


@dataclass(frozen=True)
class PathView:
    """What one path has of a trace. ``unreadable``: why it could not be read, ``hint``: what to do; ``off``: it is switched off."""

    path: SignalPath
    observations: Sequence[Observation]
    unreadable: str | None = None
    off: bool = False
    #: What compare would say of this request on this path, and what is absent or too often; None without a ledger line.
    verdict: Verdict | None = None
    wrong: tuple[str, ...] = ()
    hint: str = ""


@dataclass(frozen=True)
class TraceView:
    trace_id: str
    entry: LedgerEntry | None
    paths: Sequence[PathView]

    @property
    def found(self) -> bool:
        return self.entry is not None or any(view.observations for view in self.paths)

    @property
    def nobody_answered(self) -> bool:
        """Whether not one of the paths that are on could be read."""
        asked = [view for view in self.paths if not view.off]
        return bool(asked) and all(view.unreadable for view in asked)

    @property
    def exit_status(self) -> int:
        """0 shown, 1 nobody knows it, 2 nobody knows it and not everybody could be asked, or nobody could be asked at all."""
        if self.found and not self.nobody_answered:
            return 0
        return 2 if any(view.unreadable for view in self.paths) else 1

    def document(self) -> dict[str, Any]:
        """The JSON document: the ledger line, and for each path the vendor's own records."""
        return {
            "trace_id": self.trace_id,
            "xray_id": f"1-{self.trace_id[:8]}-{self.trace_id[8:]}",
            "ledger": None if self.entry is None else {field: getattr(self.entry, field) for field in self.entry.__dataclass_fields__},
            "paths": {
                str(view.path): {
                    "state": "off" if view.off else "unreadable" if view.unreadable else "read",
                    "reason": view.unreadable,
                    "verdict": view.verdict,
                    "absent_or_extra": list(view.wrong),
                    "observations": [
                        {
                            "kind": each.kind,
                            "service": each.service,
                            "name": each.name,
                            "id": each.id,
                            "parent_id": each.parent_id,
                            "start": each.start,
                            "duration_ms": each.duration_ms,
                            "ingested_at": each.ingested_at,
                            "error": each.error,
                            "deliveries": each.deliveries,
                            "document": each.document,
                        }
                        for each in view.observations
                    ],
                }
                for view in self.paths
            },
        }


def parse(text: str) -> str:
    """A trace id as 32 hex digits, from that or from X-Ray's form, in any case. Raises NoSuchTrace."""
    word = text.strip().lower()
    if not word:
        raise NoSuchTrace("say which trace: `make trace ID=<trace id>`; `make compare FORMAT=json` prints the ids of requests that differ")
    match = re.fullmatch(r"(?:1-([0-9a-f]{8})-([0-9a-f]{24}))|([0-9a-f]{32})", word)
    trace_id = (match[3] or match[1] + match[2]) if match is not None else ""
    if not trace_id.strip("0"):
        raise NoSuchTrace(
            f"{text!r} is not a trace id: 32 hex digits, or X-Ray's form 1-xxxxxxxx-xxxxxxxxxxxxxxxxxxxxxxxx; `make compare` prints some"
        )
    return trace_id


def collect(
    trace_id: str, entry: LedgerEntry | None, paths: Collection[SignalPath], readers: Sequence[Reader], patience: float | None = None
) -> TraceView:
    """Ask every path at once; a path that cannot be read says so and hides no other. ``patience``: seconds after which a path that has
    not answered counts as one that cannot be read."""
    around = entry.start if entry is not None else sent_at(trace_id)

    def ask(reader: Reader) -> tuple[list[Observation], str | None, str]:
        try:
            return reader.trace(trace_id, around), None, ""
        except Exception as error:
            why = unreadable(error)
            return [], why.reason, why.hint

    def answer(asked: Future[tuple[list[Observation], str | None, str]]) -> tuple[list[Observation], str | None, str]:
        try:
            return asked.result(None if patience is None else max(0.0, began + patience - time.monotonic()))
        except FutureTimeout:
            return [], f"no answer within {patience:g} s", "`make status` shows what runs"

    views: dict[SignalPath, PathView] = {path: PathView(path, (), off=True) for path in SignalPath}
    if readers:
        threads = ThreadPoolExecutor(len(readers))
        began = time.monotonic()
        try:
            for reader, asked in [(reader, threads.submit(ask, reader)) for reader in readers]:
                observations, reason, hint = answer(asked)
                for path in reader.paths & set(paths):
                    views[path] = PathView(path, [each for each in observations if each.path is path], reason, hint=hint)
        finally:
            # Who interrupts this does not wait for a backend that hangs.
            threads.shutdown(wait=False, cancel_futures=True)
    if entry is not None:
        _judge(entry, views)
    return TraceView(trace_id, entry, list(views.values()))


def keys(entry: LedgerEntry | None, path: SignalPath) -> frozenset[str]:
    """Attribute keys that the request must show on a path; none where no ledger line says what it was. Raises UnknownRequest."""
    if entry is None:
        return frozenset()
    comparison = Comparison(entry.run, [entry], [path])
    try:
        return comparison.keys(path)
    finally:
        comparison.close()


def _judge(entry: LedgerEntry, views: dict[SignalPath, PathView]) -> None:
    """Give each path its verdict."""
    comparison = Comparison(entry.run, [entry], [path for path, view in views.items() if not view.off])
    for view in views.values():
        comparison.add(view.observations)
    judgement = comparison.judge({path: PathState(unreadable=view.unreadable) for path, view in views.items() if not view.off})
    comparison.close()
    found = {finding.path: (*finding.absent, *finding.extra) for finding in judgement.findings}
    for path, counts in judgement.counts.items():
        verdict = next(verdict for verdict, count in counts.items() if count)
        views[path] = replace(views[path], verdict=verdict, wrong=found.get(path, ()))


def find(settings: Settings, trace_id: str) -> tuple[LedgerEntry, Run] | None:
    """The ledger line of a trace and its run; a ledger that cannot be read is passed over."""
    for run in reversed(runs(settings)):
        folder = settings.runs_dir / run
        try:
            if mentions(folder, trace_id):
                found = load_run(settings, run)
                return next((entry, found) for entry in found.entries() if entry.trace_id == trace_id)
        except (RunError, LedgerError, OSError, StopIteration):
            continue
    return None


def show(view: TraceView, console: Console) -> None:
    """Print a trace: the request, then each path as a tree with bars on one common time axis."""
    entry = view.entry
    console.print(
        Text.assemble("\n", ("Trace ", "bold"), (view.trace_id, "bold cyan"), f"  X-Ray 1-{view.trace_id[:8]}-{view.trace_id[8:]}")
    )
    if entry is None:
        console.print(Text("No ledger line has this trace id.", "yellow"))
    else:
        status = "no answer" if entry.status is None else str(entry.status)
        console.print(
            Text(
                f"Request #{entry.sequence} of run {entry.run}: {entry.method} {entry.target} → {status} in {entry.duration_ms:.1f} ms"
                f"{'' if entry.outcome == 'ok' else f' ({entry.outcome})'}\nSent {_clock(entry.start)} UTC"
            )
        )
        if entry.error:
            console.print(Text(f"Error: {entry.error}", "yellow"))
    times = [(each.start, each.duration_ms or 0.0) for path in view.paths for each in path.observations if each.start is not None]
    if entry is not None:
        times.append((entry.start, entry.duration_ms))
    zero = min((start for start, _ in times), default=0.0)
    span = max((start - zero + duration / 1000 for start, duration in times), default=0.0) or 0.001
    if entry is not None:
        console.print(
            Text.assemble(f"\n{'client':<52}", (_bar(entry.start, entry.duration_ms, zero, span), "cyan"), f" {entry.duration_ms:9.1f} ms")
        )
    for path in view.paths:
        console.print(Text.assemble("\n", (path.path, "bold"), "  ", _verdict(path)))
        if path.off:
            console.print(Text("  – off", "dim"))
        elif path.unreadable:
            console.print(Text(f"  ? could not be read: {path.unreadable}", "yellow"))
        elif not path.observations:
            console.print(Text("  nothing", "dim"))
        else:
            for depth, each in _tree(path.observations):
                _line(console, depth, each, zero, span)
    if view.nobody_answered:
        console.print(Text("\nNo path could be read. Next: `make status` shows what runs, `make up` starts it.", "bold yellow"))
    elif not view.found:
        who = "Nobody who could be asked" if view.exit_status == 2 else "Nobody"
        console.print(Text(f"\n{who} knows this trace. `make compare` prints the ids of requests that differ.", "bold yellow"))


def _verdict(view: PathView) -> Text:
    if view.verdict is None or view.unreadable:
        return Text("")
    mark, style = ("✓", "green") if view.verdict in AS_EXPECTED else ("✗", "red")
    return Text(f"{mark} {view.verdict}{': ' if view.wrong else ''}{'; '.join(view.wrong)}", style)


def _line(console: Console, depth: int, each: Observation, zero: float, span: float) -> None:
    mark = "✗ " if each.error else ""
    title = f"{'  ' * (depth + 1)}{mark}{each.kind} {each.name} ({each.service})"
    title = title if len(title) <= 51 else title[:50] + "…"
    if each.start is None:
        bar, length = " " * BAR, ""
    elif each.kind in SAMPLED_KINDS:
        bar, length = _bar(each.start, each.duration_ms or 0.0, zero, span), f" {each.duration_ms or 0.0:9.1f} ms"
    else:
        bar, length = _bar(each.start, 0.0, zero, span), f"    at {max(0.0, each.start - zero) * 1000:5.0f} ms"
    times = f" ×{each.deliveries}" if each.deliveries > 1 else ""
    console.print(
        Text.assemble((f"{title:<52}", "red" if each.error else ""), (bar, "red" if each.error else "green"), length, (times, "yellow"))
    )
    shown = {key: value for key, value in each.attributes.items() if key not in _SHOWN_ALREADY and not key.startswith(_NOISE)}
    if shown:
        text = " ".join(f"{key}={_value(value)}" for key, value in sorted(shown.items()))
        text = text if len(text) <= ATTRIBUTES else text[: ATTRIBUTES - 1] + "…"
        console.print(Padding(Text(text, "dim"), (0, 0, 0, 2 * depth + 6)))


def _tree(observations: Sequence[Observation]) -> list[tuple[int, Observation]]:
    """Parents before their children, each level by time."""
    by_id = {each.id: each for each in observations if each.kind in SAMPLED_KINDS}
    children: dict[str | None, list[Observation]] = {}
    for each in observations:
        parent = each.parent_id if each.parent_id in by_id and each.parent_id != each.id else None
        children.setdefault(parent, []).append(each)
    ordered: list[tuple[int, Observation]] = []
    todo: list[tuple[int, Observation]] = [(0, each) for each in sorted(children.get(None, []), key=_when, reverse=True)]
    while todo:
        depth, each = todo.pop()
        ordered.append((depth, each))
        if each.kind in SAMPLED_KINDS:
            todo += [(depth + 1, child) for child in sorted(children.pop(each.id, []), key=_when, reverse=True)]
    return ordered


def _when(each: Observation) -> float:
    return each.start if each.start is not None else 0.0


def _bar(start: float, duration_ms: float, zero: float, span: float) -> str:
    left = min(BAR - 1, int((start - zero) / span * BAR))
    length = max(1, min(BAR - left, round(duration_ms / 1000 / span * BAR)))
    return " " * left + ("━" * length if duration_ms > 0 else "•") + " " * (BAR - left - (length if duration_ms > 0 else 1))


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:59] + "…"


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
