"""From what a vendor shows to the request it belongs to, where its run is one of ours."""

from __future__ import annotations

import re
from typing import Any, Final

from flask import g, url_for

from services.compare.web.site import site

_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")


def request_address(trace_id: Any, run: Any) -> str | None:
    """The address of a request's page; None where the run is unknown here, or the values are no such ids: anybody may send anything."""
    if not isinstance(trace_id, str) or not isinstance(run, str) or not _TRACE_ID.fullmatch(trace_id):
        return None
    if "parallax_runs" not in g:
        g.parallax_runs = frozenset(site().run_ids())
    return url_for("request.show", run_id=run, trace_id=trace_id) if run in g.parallax_runs else None
