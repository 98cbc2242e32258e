"""Occurrences: each time that something happened, with its stack."""

from __future__ import annotations

import re
from typing import Final

from flask import Response, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from services.compare.readers.base import mapping
from services.compare.web import paging
from services.compare.web.site import Refused, site
from services.compare.web.vendors import raw
from services.compare.web.vendors.asking import ask
from services.compare.web.vendors.rollbar.client import OCCURRENCES, Rollbar
from services.compare.web.vendors.rollbar.shapes import occurrence

#: Pages of an item's occurrences that are looked through for one of them.
PAGES: Final = 10
#: What is asked for: whoever sends an occurrence may give it any text for a uuid.
_UUID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


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


def by_uuid(uuid: str) -> ResponseReturnValue:
    """To the occurrence whose sender gave it this uuid: the API finds its item by it, and the item lists its occurrences. Where it has
    more than are looked through, to the item."""
    if not _UUID.fullmatch(uuid):
        raise Refused(404, "No such occurrence", "An occurrence is found by its uuid: letters, digits and hyphens.")
    rollbar = Rollbar(site().settings)
    found = ask("Rollbar", rollbar.item_of, uuid)
    item = found.value.get("id") if found.value is not None else None
    if not isinstance(item, int):
        return render_template("vendors/rollbar/occurrence.html", found=found, each=None, occurrence_id=uuid)
    for page in range(1, PAGES + 1):
        listed = ask("Rollbar", rollbar.occurrences, page, item)
        for each in listed.value or ():
            if mapping(each.get("data")).get("uuid") == uuid and isinstance(each.get("id"), int):
                return redirect(url_for(".occurrence", occurrence_id=each["id"]))
        if len(listed.value or ()) < OCCURRENCES:
            break
    return redirect(url_for(".item", item_id=item))


def raw_occurrence(occurrence_id: int) -> Response:
    return raw.of(ask("Rollbar", Rollbar(site().settings).occurrence, occurrence_id))
