"""Pages of a long list: how many there are, and which one the address asks for."""

from __future__ import annotations

from flask import request

from services.compare.web.site import Refused

#: Digits of a page's number. No list is that long.
_DIGITS = 7


def count(total: int, size: int) -> int:
    """Pages of ``size`` entries that ``total`` entries make; a list without entries has one."""
    return max(1, -(-total // size))


def number(pages: int | None, name: str = "page") -> int:
    """``?page=``, from 1; a page (404) where the list has no such one. ``pages``: None where a vendor counts them."""
    text = request.args.get(name, "").strip() or "1"
    is_number = text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) >= 1
    if is_number and (pages is None or int(text) <= pages):
        return int(text)
    has = "Pages are numbers from 1" if pages is None else "This list has 1 page" if pages == 1 else f"This list has {pages:,} pages"
    raise Refused(404, "No such page", f"{has}; {name}={text} is none of them.")
