"""Which page of a list the address asks for."""

from __future__ import annotations

from flask import request

from services.compare.web.site import refuse

#: No list is that long, and Rollbar's numbers end before the next digit.
_LAST = 1_000_000


def page_number() -> int:
    """``?page=``, from 1; anything else is refused."""
    text = request.args.get("page", "") or "1"
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:8]) <= _LAST and len(text) <= 7):
        refuse(f"page={text} is not the number of a page.", title="No such page")
    return int(text)
