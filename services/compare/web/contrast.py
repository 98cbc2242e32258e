"""``/runs/<id>/with``: which earlier run to hold a run against; ``/runs/<id>/with/<other>?thresholds=``: the two against each other."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as Redirect

from services.compare.differences import Contrast, Thresholds, ThresholdsError, contrast, document, junit, markdown, texts
from services.compare.differences.thresholds import parse
from services.compare.record import NoRecord
from services.compare.record import document as record_document
from services.compare.web.site import Refused, site

blueprint = Blueprint("contrast", __name__, url_prefix="/runs/<run_id>/with")

#: Other runs that are offered; any other can be named in the address.
OFFERED = 200


@blueprint.get("")
def choose(run_id: str) -> str | Redirect:
    """A form; with ``?other=`` it leads on."""
    run = site().run(run_id)
    if other := request.args.get("other", "").strip():
        return redirect(url_for(".show", run_id=run_id, other=site().run(other).id, thresholds=request.args.get("thresholds") or None))
    others: list[tuple[str, dict[str, Any]]] = []
    # The ids of runs sort by time: those before it first, the newest of them first of all.
    for each in sorted(site().run_ids(), key=lambda each: each > run_id):
        if each == run_id or len(others) == OFFERED:
            continue
        try:
            others.append((each, record_document(site().settings.runs_dir / each)))
        except NoRecord:
            continue
    return render_template("contrast/choose.html", run=run, others=others, thresholds=_line())


@blueprint.get("/<other>")
def show(run_id: str, other: str) -> str | Response:
    """The page; ``?format=json``, ``markdown`` or ``junit`` for the same as a file."""
    found = _contrast(run_id, other)
    match request.args.get("format", "html"):
        case "html":
            run = site().run(run_id)
            return render_template("contrast/show.html", run=run, other=other, contrast=found, texts=texts, line=_line())
        case "json":
            return _json(found)
        case "markdown":
            return Response(markdown.render(found), mimetype="text/markdown")
        case "junit":
            return Response(junit.render(found), mimetype="application/xml")
        case form:
            raise Refused(400, "No such form", f"format={form} is none of html, json, markdown, junit")


def _json(found: Contrast) -> Response:
    return jsonify(document.document(found))


def _contrast(run_id: str, other: str) -> Contrast:
    if run_id == other:
        raise Refused(400, "One run only", f"Run {run_id} cannot be held against itself; choose an earlier one.")
    try:
        thresholds = parse(_line())
    except ThresholdsError as error:
        raise Refused(400, "No thresholds", str(error)) from error
    records = [site().record(site().run(each)) for each in (run_id, other)]
    return contrast(records[0], records[1], thresholds)


def _line() -> str:
    """The thresholds of the address, else of the settings, else the defaults."""
    return request.args.get("thresholds", "").strip() or site().settings.thresholds or str(Thresholds())
