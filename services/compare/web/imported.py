"""What a page says of a run that was imported: where it comes from, what came along, and that no vendor here has anything of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flask import request

from loadtest.ledger import mentions
from loadtest.runs import IMPORTED, RUN_ID, RunError, open_run, runs
from services.compare import trace
from services.compare.export import documents
from services.compare.export.forms import Kept
from services.compare.record import NoRecord, document
from services.compare.web.site import site

#: Where the pages of vendors lie.
_VENDORS: Final = "/vendors/"


@dataclass(frozen=True)
class Imported:
    """``file``: what was imported, ``at`` and ``exported``: when, epoch seconds; None where nothing says so any more.
    ``documents``: raw documents that came along; ``gaps``: why not all of a path did."""

    run: str
    file: str | None
    at: float | None
    exported: float | None
    documents: int
    gaps: Mapping[str, str]


def imported(run_id: str) -> Imported | None:
    """None of a run that was made here."""
    folder = site().settings.runs_dir / run_id
    path = folder / IMPORTED
    if not RUN_ID.fullmatch(run_id) or not path.exists():
        return None
    said: Any = None
    with suppress(OSError, ValueError):
        said = json.loads(path.read_bytes())
    said = said if isinstance(said, dict) else {}
    file = said.get("file")
    kept = _documents(folder)
    return Imported(
        run_id,
        file if isinstance(file, str) else None,
        _moment(said.get("at")),
        _moment(said.get("exported")),
        sum(each.count for each in kept.values()),
        {str(path): each.reason for path, each in kept.items() if each.reason is not None},
    )


def asked_of_vendors() -> Imported | None:
    """The imported run of which a vendor's page is asked, by its time (``range``) or one of its traces; None of any other page."""
    if not request.path.startswith(_VENDORS):
        return None
    named = request.args.get("range", "")
    if RUN_ID.fullmatch(named):
        return imported(named)
    asked = str((request.view_args or {}).get("trace") or request.args.get("trace", ""))
    with suppress(trace.NoSuchTrace):
        return _of_trace(trace.parse(asked)) if asked else None
    return None


def _of_trace(trace_id: str) -> Imported | None:
    settings = site().settings
    for run_id in reversed(runs(settings)):
        folder = settings.runs_dir / run_id
        if not (folder / IMPORTED).exists():
            continue
        with suppress(RunError, OSError):
            run = open_run(folder)
            # A trace id begins with its time: few ledgers need be looked through.
            near = run.manifest.started - 3600 <= int(trace_id[:8], 16) <= (run.manifest.ended or float("inf")) + 3600
            if near and mentions(folder, trace_id):
                return imported(run_id)
    return None


def _documents(folder: Path) -> Mapping[Any, Kept]:
    with suppress(NoRecord):
        return documents.states(folder / str(document(folder)["folder"]))
    return {}


def _moment(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e11 else None
