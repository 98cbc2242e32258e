"""What a replay says in the end: for people, and as a document."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from compose.settings import SignalPath
from services.compare.replay.recorded import SIGNALS
from services.compare.replay.rewrite import Seen
from services.compare.replay.trial import Counts, Export, Processing

#: Everything the Collector took was delivered, or dropped by its configuration.
DONE: Final = 0
#: Something was refused, failed, or still waits.
LOST: Final = 1
COULD_NOT_REPLAY: Final = 2

#: What the items of each signal are called, by people and by the Collector's metrics.
ITEMS: Final = {"traces": "spans", "logs": "log records", "metrics": "data points"}
_WORDS: Final = {"spans": "spans", "log_records": "log records", "metric_points": "data points"}


@dataclass
class Outcome:
    """One replay."""

    run: str
    replay_of: str
    requests: int
    paths: list[SignalPath]
    #: The configuration files, in order.
    configuration: list[str]
    #: What the recording holds of the run, by signal.
    recorded: dict[str, Seen]
    #: Requests of the run that nothing is recorded of; the new ledger has none of them.
    left_out: int
    #: Bytes of the recording that are no whole message.
    damaged: int
    sent: dict[str, int]
    refused: dict[str, int]
    reasons: dict[str, int]
    retries: int
    counts: Counts
    seconds: float

    @property
    def exit_status(self) -> int:
        failed = any(each.lost for each in self.counts.exports)
        return LOST if failed or self.counts.undecided or any(self.refused.values()) else DONE

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "run": self.run,
            "replay_of": self.replay_of,
            "requests": self.requests,
            "paths": sorted(self.paths),
            "configuration": self.configuration,
            "exit_status": self.exit_status,
            "seconds": round(self.seconds, 3),
            "recorded": {signal: {"items": seen.kept, "of_no_run": seen.of_no_run} for signal, seen in self.recorded.items()},
            "left_out": self.left_out,
            "damaged_bytes": self.damaged,
            "sent": self.sent,
            "refused": self.refused,
            "reasons": self.reasons,
            "retries": self.retries,
            "processors": [asdict(each) | {"dropped": each.incoming - each.outgoing} for each in self.counts.processing],
            "exporters": [asdict(each) for each in self.counts.exports],
            "undecided_traces": self.counts.undecided,
        }

    def text(self) -> str:
        """For people, ending with the next command."""
        paths = ", ".join(sorted(self.paths))
        lines = [
            f"replay {self.run} of {self.replay_of}: {self.requests:,} requests in {self.seconds:.1f} s, for {paths}",
            _line(" ", "configuration", " + ".join(self.configuration)),
            _line(" ", "recorded", self._items({signal: seen.kept for signal, seen in self.recorded.items()})),
        ]
        if self.left_out:
            text = f"{self.left_out:,} requests of which nothing is recorded; totals of metrics may differ by them"
            lines.append(_line("!", "left out", text))
        if self.damaged:
            text = f"{self.damaged:,} bytes of the recording are no whole message: the disk was full, or a process died"
            lines.append(_line("!", "passed over", text))
        again = f"; {self.retries:,} requests sent again" if self.retries else ""
        lines.append(_line(" ", "sent", self._items(self.sent) + again))
        lines += [_line("✗", "refused", f"{items:,} {reason}") for reason, items in self.reasons.items()]
        lines += [_processor(each) for each in self.counts.processing if each.incoming != each.outgoing]
        if self.counts.undecided:
            lines.append(_line("✗", "undecided", f"{self.counts.undecided:,} traces wait for a decision of tail_sampling"))
        for name in sorted({each.exporter for each in self.counts.exports}):
            mine = [each for each in self.counts.exports if each.exporter == name and (each.sent or each.lost)]
            if mine:
                mark = "✗" if any(each.lost for each in mine) else " "
                lines.append(_line(mark, "exporter", f"{name}: " + "; ".join(_export(each) for each in mine)))
        lines.append(f"next: `make compare RUN={self.run}`, then `make compare RUN={self.run} WITH={self.replay_of}`")
        return "\n".join(lines)

    @staticmethod
    def _items(counts: dict[str, int]) -> str:
        return ", ".join(f"{counts.get(signal, 0):,} {ITEMS[signal]}" for signal in SIGNALS)


def _line(mark: str, label: str, text: str) -> str:
    return f"{mark} {label:<15}{text}"


def _processor(each: Processing) -> str:
    what = "dropped" if each.outgoing < each.incoming else "added"
    change = abs(each.incoming - each.outgoing)
    return _line(" ", "processor", f"{each.processor}: {each.incoming:,} {_words(each.items)} in, {each.outgoing:,} out, {change:,} {what}")


def _export(each: Export) -> str:
    wrong = (("failed", each.failed), ("refused by its full queue", each.not_queued), ("still waiting", each.waiting))
    return f"{each.sent:,} {_words(each.items)} sent" + "".join(f", {count:,} {word}" for word, count in wrong if count)


def _words(items: str) -> str:
    return _WORDS.get(items, items)
