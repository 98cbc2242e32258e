"""The one exception by which state and wire format say that a call fails, in the caller's terms."""

from __future__ import annotations

from collections.abc import Mapping


class AwsError(Exception):
    """An error the service answers: ``code`` is the exception's name in the service model, ``status`` the HTTP status.

    ``members``: those that the exception has beside its message.
    """

    def __init__(self, code: str, message: str, status: int = 400, members: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.members = dict(members or {})


def not_implemented(what: str) -> AwsError:
    """What AWS can do and this local cloud cannot: always said, never answered with something hollow."""
    return AwsError("NotImplementedException", f"{what} is not implemented by the local AWS; see docs/local-aws.md", 501)
