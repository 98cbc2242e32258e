"""``/runs/<id>``: one run, from the matrix of paths and verdicts down to the requests in a cell."""

from __future__ import annotations

from flask import Blueprint, render_template

from services.compare.web.site import site

blueprint = Blueprint("run", __name__, url_prefix="/runs/<run_id>")


@blueprint.get("")
def overview(run_id: str) -> str:
    run = site().run(run_id)
    record = site().record(run)
    return render_template("run/overview.html", run=run, report=record.document)
