"""One trace by its id."""

from __future__ import annotations

import time
from typing import Final

from flask import Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from services.compare.readers.base import Observation, sent_at
from services.compare.web.site import site
from services.compare.web.site import trace_id as parsed
from services.compare.web.vendors import raw
from services.compare.web.vendors.asking import Asked, ask
from services.compare.web.vendors.honeycomb.client import Honeycomb
from services.compare.web.vendors.honeycomb.waterfall import rows

#: Seconds for which Honeycomb may keep events ("Data retention": 60 days).
_KEPT: Final = 60 * 86_400


def find() -> ResponseReturnValue:
    text = request.args.get("id", "").strip()
    if not text:
        return render_template("vendors/honeycomb/traces.html")
    return redirect(url_for(".trace", trace=parsed(text)))


def show(trace: str) -> ResponseReturnValue:
    identity = parsed(trace)
    if identity != trace:
        return redirect(url_for(".trace", trace=identity))
    found, around = _ask(identity)
    observations = found.value or []
    run = next((each.run for each in observations if each.run), None)
    return render_template(
        "vendors/honeycomb/trace.html",
        found=found,
        trace=identity,
        run=run,
        rows=rows(observations),
        around=around,
        until=min(around + 3600, time.time()),
        guessed=around != sent_at(identity),
    )


def raw_trace(trace: str) -> Response:
    found, _ = _ask(parsed(trace))
    if found.value is None:
        return raw.of(found)
    return raw.of(Asked([each.document for each in found.value]))


def _ask(trace: str) -> tuple[Asked[list[Observation]], float]:
    """The trace, and the time around which it was looked for: its id's, or, of an id that begins with no time, the last hour."""
    now, around = time.time(), sent_at(trace)
    if not now - _KEPT < around < now + 60:
        around = now - 3600
    return ask("Honeycomb", Honeycomb(site().settings).trace, trace, around), around
