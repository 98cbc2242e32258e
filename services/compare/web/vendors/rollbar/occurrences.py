"""Occurrences: each time that something happened, with its stack."""

from __future__ import annotations

from flask import Response, render_template

from services.compare.web import paging
from services.compare.web.site import site
from services.compare.web.vendors import raw
from services.compare.web.vendors.asking import ask
from services.compare.web.vendors.rollbar.client import OCCURRENCES, Rollbar
from services.compare.web.vendors.rollbar.shapes import occurrence


def index() -> str:
    page = paging.number(None)
    found = ask("Rollbar", Rollbar(site().settings).occurrences, page)
    shown = [occurrence(each) for each in found.value or ()]
    return render_template(
        "vendors/rollbar/occurrences.html", found=found, occurrences=shown, page=page, full=len(found.value or ()) >= OCCURRENCES
    )


def show(occurrence_id: int) -> str:
    found = ask("Rollbar", Rollbar(site().settings).occurrence, occurrence_id)
    each = None if found.value is None else occurrence(found.value)
    return render_template("vendors/rollbar/occurrence.html", found=found, each=each, occurrence_id=occurrence_id)


def raw_occurrence(occurrence_id: int) -> Response:
    return raw.of(ask("Rollbar", Rollbar(site().settings).occurrence, occurrence_id))
