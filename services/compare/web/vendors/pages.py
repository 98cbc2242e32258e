"""What the pages of a vendor have in common: where they lie, their tabs, and the way from what a vendor shows to a run of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Blueprint

from services.compare.web.vendors.links import request_address


def vendor_blueprint(name: str, tabs: Sequence[tuple[str, str, str]]) -> Blueprint:
    """A vendor's blueprint below ``/vendors/<name>``. ``tabs``: name, label and endpoint of each; templates extend
    ``vendors/frame.html``, which brings ``css/<name>.css``."""
    blueprint = Blueprint(name, __name__, url_prefix=f"/vendors/{name}")

    @blueprint.context_processor
    def context() -> dict[str, Any]:
        return {"tabs": tabs, "request_address": request_address}

    return blueprint
