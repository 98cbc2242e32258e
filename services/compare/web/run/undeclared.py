"""What arrived beside what is declared, a part of ``/runs/<id>/attributes``: ``?path=`` chooses the path whose names are listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flask import request

from services.compare.record import Record
from services.compare.web.run.memory import once
from services.compare.web.site import refuse

#: What awsxray puts before the name of a resource attribute, which elsewhere has its own name.
_RESOURCE: Final = "otel.resource."


@dataclass(frozen=True)
class Row:
    """One name. ``also``: the other paths that have it, undeclared as well; ``of``: documents of its kind that were looked at."""

    kind: str
    place: str
    name: str
    documents: int
    of: int
    requests: int
    example: str
    trace_id: str
    same_as: Sequence[str]
    also: Sequence[str]


@dataclass(frozen=True)
class Beside:
    """``requests`` of ``of`` were looked at. ``counts``: names by path, of every path that was looked at; ``path``: the chosen one, with
    ``rows``; ``cut``: there is more of it than is kept; ``reason``: why not all of it was looked at."""

    requests: int
    of: int
    counts: Mapping[str, int]
    path: str
    rows: Sequence[Row]
    cut: bool
    reason: str | None


def chosen(record: Record) -> Beside | None:
    """What the address asks for; None where the record was made before anybody looked. Refuses a path that is not there."""
    about = record.document.get("undeclared")
    if about is None:
        return None
    found = _rows(record)
    paths: Mapping[str, Any] = about["paths"]
    # Where none is asked for, one that has something to show.
    path = request.args.get("path", "").strip() or next((name for name in paths if found.get(name)), next(iter(paths), ""))
    if path not in paths and (path or paths):
        refuse(f"path {path!r} is not known, or was off or unreadable in this run; known are {', '.join(paths)}", title="No such path")
    looked = paths.get(path) or {"cut": False, "reason": None}
    return Beside(
        requests=about["requests"],
        of=about["of"],
        counts={name: len(found.get(name, ())) for name in paths},
        path=path,
        rows=found.get(path, ()),
        cut=looked["cut"],
        reason=looked["reason"],
    )


@once
def _rows(record: Record) -> Mapping[str, Sequence[Row]]:
    """By path."""
    looked = record.document["undeclared"]["paths"]
    rows = record.rows("FROM undeclared ORDER BY path, kind, place, name")
    everywhere: dict[str, set[str]] = {}
    for row in rows:
        everywhere.setdefault(_elsewhere(row["name"]), set()).add(row["path"])
    found: dict[str, list[Row]] = {}
    for row in rows:
        others = everywhere[_elsewhere(row["name"])] - {row["path"]}
        of = looked.get(row["path"], {"documents": {}})["documents"].get(row["kind"], row["documents"])
        found.setdefault(row["path"], []).append(
            Row(
                row["kind"],
                row["place"],
                row["name"],
                row["documents"],
                of,
                row["requests"],
                row["example"],
                row["trace_id"],
                row["same_as"] or (),
                [name for name in record.document["paths"] if name in others],
            )
        )
    return found


def _elsewhere(name: str) -> str:
    return name.removeprefix(_RESOURCE)
