"""Honeycomb's error bodies ("API reference: Errors"): a plain ``{"error": …}`` or ``application/problem+json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

UNKNOWN_KEY = "unknown API key - check your credentials"

_PROBLEMS = "https://api.honeycomb.io/problems"


@dataclass(frozen=True)
class Detail:
    """What is wrong with one field of a request."""

    field: str
    code: Literal["invalid", "missing", "incorrect_type", "already_exists"]
    description: str


class ApiError(Exception):
    """An answer other than success. ``plain`` ones are ``{"error"}``, the others problem details (RFC 9457)."""

    def __init__(
        self,
        status: int,
        error: str,
        *,
        problem: str = "",
        title: str = "",
        details: Sequence[Detail] = (),
        retry_after: int | None = None,
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.problem = problem
        self.title = title
        self.details = tuple(details)
        self.retry_after = retry_after

    @property
    def content_type(self) -> str:
        return "application/problem+json" if self.problem else "application/json"

    def body(self) -> dict[str, Any]:
        """The JSON object of the answer."""
        if not self.problem:
            return {"error": self.error}
        body = {
            "status": self.status,
            "type": f"{_PROBLEMS}/{self.problem}",
            "title": self.title,
            "error": self.error,
            "detail": self.error,
        }
        if self.details:
            body["type_detail"] = [asdict(detail) for detail in self.details]
        return body


def unauthorized() -> ApiError:
    return ApiError(401, UNKNOWN_KEY)


def bad_request(error: str) -> ApiError:
    return ApiError(400, error)


def not_found(what: str) -> ApiError:
    return ApiError(404, f"{what} not found", problem="not-found", title="The requested resource cannot be found.")


def invalid(details: Sequence[Detail]) -> ApiError:
    """One or more fields of a request are wrong."""
    return ApiError(
        422,
        "; ".join(f"{detail.field}: {detail.description}" for detail in details),
        problem="validation-failed",
        title="The provided input is invalid.",
        details=details,
    )


def not_implemented(what: str) -> ApiError:
    """Honeycomb has it, this program does not."""
    return ApiError(
        501,
        f"the local Honeycomb does not implement {what}; see docs/local-honeycomb.md",
        problem="not-implemented",
        title="Not implemented.",
    )


def rate_limited(retry_after: int) -> ApiError:
    return ApiError(
        429,
        "You have exceeded your rate limit.",
        problem="rate-limited",
        title="You have exceeded your rate limit.",
        retry_after=retry_after,
    )
