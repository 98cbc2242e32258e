"""Whether the application that a load is for is there."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit


class CannotStart(Exception):
    """The load cannot start. The message is one line that names what is missing and the next command."""


def check_target(url: str) -> None:
    """Raise CannotStart when nobody listens at ``url``. Connects only: a request would be traced, and no ledger line explains it."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), timeout=5).close()
    except OSError as error:
        raise CannotStart(f"the application does not answer at {url} ({error.strerror or error}); `make up` starts it") from None
