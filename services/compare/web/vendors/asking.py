"""Asking a vendor for what its page shows: an answer, or why there is none, so that the rest of the page goes on.

items = ask("Rollbar", client.items, page=1)
{% if items.problem %}{{ parts.problem(items.problem.reason, items.problem.hint) }}{% else %}{{ items.value … }}{% endif %}
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flask import current_app

from services.compare.readers.base import Unreadable
from services.compare.readers.http import Refusal
from services.compare.web.site import Refused

T = TypeVar("T")


@dataclass(frozen=True)
class Asked(Generic[T]):
    """One of both: ``value``, what the vendor answered, or ``problem``, why it could not be asked."""

    value: T | None = None
    problem: Unreadable | None = None


def ask(vendor: str, call: Callable[..., T], *arguments: Any, **named: Any) -> Asked[T]:
    """Call a function that asks the vendor. What is not there (404) becomes a page (404) with the vendor's words."""
    try:
        return Asked(call(*arguments, **named))
    except Refusal as error:
        if error.status == 404:
            raise Refused(404, f"{vendor} has no such thing", error.reason) from error
        return Asked(problem=error)
    except Unreadable as error:
        return Asked(problem=error)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        # Whoever answers at the address of the settings need not be the vendor.
        current_app.logger.exception("an answer of %s could not be read", vendor)
        return Asked(problem=Unreadable(f"{vendor} answered in another form than its API's ({type(error).__name__}: {error})"))
