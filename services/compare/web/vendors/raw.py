"""A vendor's own record as it came: JSON, for who wants all of it."""

from __future__ import annotations

import json
from typing import Any

from flask import Response

from services.compare.web.site import Refused
from services.compare.web.vendors.asking import Asked


def of(asked: Asked[Any]) -> Response:
    """What the vendor answered, as application/json; or a page (502) that says why there is nothing.

    ASCII only: a value may hold what is no Unicode text.
    """
    if asked.problem is not None:
        raise Refused(502, "The vendor could not be asked", asked.problem.reason, asked.problem.hint)
    return Response(json.dumps(asked.value, indent=1, default=str) + "\n", mimetype="application/json")
