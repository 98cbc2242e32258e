"""``/``: every run, newest first, with what became of it on each path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, render_template, url_for

from loadtest.runs import Manifest, RunError, open_run
from services.compare.record import RECORD, NoRecord, document
from services.compare.web import paging
from services.compare.web.site import site

blueprint = Blueprint("runs", __name__)

#: Runs on one page.
PAGE = 30


@dataclass(frozen=True)
class Row:
    """A run in the list. ``report`` None: it was not compared yet. ``going_on``: it is being made. ``problem``: why the run
    cannot be shown."""

    id: str
    manifest: Manifest | None = None
    report: Mapping[str, Any] | None = None
    going_on: bool = False
    problem: str = ""
    imported: bool = False


@blueprint.get("/")
def index() -> str:
    ids = site().run_ids()
    pages = paging.count(len(ids), PAGE)
    page = paging.number(pages)
    rows = [_row(run) for run in ids[(page - 1) * PAGE : page * PAGE]]
    return render_template("runs.html", rows=rows, total=len(ids), page=page, pages=pages, at=lambda n: url_for(".index", page=n))


def _row(run_id: str) -> Row:
    try:
        # Not by its id, which would look through all runs for each.
        run = open_run(site().settings.runs_dir / run_id)
    except RunError as error:
        return Row(run_id, problem=str(error))
    try:
        return Row(run_id, run.manifest, document(run.folder), imported=run.imported)
    except NoRecord as error:
        # One that is there and cannot be used is not one that was not made yet.
        problem = str(error) if (run.folder / RECORD).exists() else ""
        return Row(run_id, run.manifest, going_on=run.loader is not None, problem=problem, imported=run.imported)
