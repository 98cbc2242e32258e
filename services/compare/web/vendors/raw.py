"""A vendor's own record as it came: JSON, for who wants all of it."""

from __future__ import annotations

import json
from typing import Any

from flask import Response


def answer(document: Any) -> Response:
    """The document as an answer of type application/json; ASCII only, for a value may hold what is no Unicode text."""
    return Response(json.dumps(document, indent=1, default=str) + "\n", mimetype="application/json")
