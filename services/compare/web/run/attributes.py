"""``/runs/<id>/attributes``: what became of every declared attribute on each path, counted over what really arrived, and what arrived
beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import render_template

from compose.settings import SignalPath
from services.compare.paths import PATHS
from services.compare.record import Record
from services.compare.web.run import undeclared
from services.compare.web.run.memory import once
from services.compare.web.run.requests import is_trace, trace_href
from services.compare.web.site import site


@dataclass(frozen=True)
class Fate:
    """A declared attribute on a path: of the signals that arrived and declare it, how many have it, have it under the name ``as_``, have
    another value, or lack it. ``example``: sequence and trace id of a request that lacks it or has another value."""

    kept: int
    renamed: int
    changed: int
    dropped: int
    as_: str
    example: tuple[int, str] | None = None

    @property
    def total(self) -> int:
        return self.kept + self.renamed + self.changed + self.dropped

    @property
    def words(self) -> list[tuple[str, int]]:
        """What happened, worst first, with how often."""
        counts = (("dropped", self.dropped), ("changed", self.changed), ("renamed", self.renamed), ("kept", self.kept))
        return [(word, count) for word, count in counts if count]


def show(run_id: str) -> str:
    run = site().run(run_id)
    record = site().record(run)
    paths = record.document["paths"]
    fates = _fates(record)
    totals = {path: {word: sum(getattr(row[path], word) for row in fates.values() if path in row) for word in WORDS} for path in paths}
    return render_template(
        "run/attributes.html",
        run=run,
        paths={name: path for name, path in paths.items() if path["state"] != "off"},
        off=[name for name, path in paths.items() if path["state"] == "off"],
        fates=fates,
        totals=totals,
        beside=undeclared.chosen(record),
        trace_href=lambda trace: trace_href(run_id, trace),
        is_trace=is_trace,
    )


#: What can become of an attribute.
WORDS = ("kept", "renamed", "changed", "dropped")


@once
def _fates(record: Record) -> Mapping[str, Mapping[str, Fate]]:
    """By key, then by path."""
    found: dict[str, dict[str, Fate]] = {}
    for path, about in record.document["paths"].items():
        for each in about["attributes"]:
            lacking = each["changed"] or each["dropped"]
            found.setdefault(each["key"], {})[path] = Fate(
                each["kept"],
                each["renamed"],
                each["changed"],
                each["dropped"],
                PATHS[SignalPath(path)].kept_as(each["key"]),
                _example(record, path, each["key"]) if lacking else None,
            )
    return dict(sorted(found.items()))


def _example(record: Record, path: str, key: str) -> tuple[int, str] | None:
    """The first request of which compare says that this attribute is absent or different. ("span x (y) without app.now, run=…")"""
    rows: list[dict[str, Any]] = record.rows(
        "SELECT sequence, trace_id FROM outcomes JOIN requests USING (sequence) WHERE path = ? AND verdict <> 'seen' "
        "AND len(list_filter(absent, lambda said: regexp_matches(said, ?))) > 0 ORDER BY sequence LIMIT 1",
        [path, rf" without (.*, )?{_literal(key)}([ =,]|$)"],
    )
    return (rows[0]["sequence"], rows[0]["trace_id"]) if rows else None


def _literal(text: str) -> str:
    """``text`` as a regular expression (RE2, "Syntax") that matches nothing else."""
    return "".join(letter if letter.isalnum() or letter == "_" else f"\\x{{{ord(letter):x}}}" for letter in text)
