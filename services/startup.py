"""How a service refuses to start: one line on standard error, and a status that gunicorn takes for final."""

from __future__ import annotations

import sys
from typing import NoReturn

#: gunicorn stops for good when a worker ends with this status, and starts another one after any other.
WORKER_BOOT_ERROR = 3


def refuse(service: str, reason: str) -> NoReturn:
    """End the process. ``reason`` is one line: what is wrong, where, and what to do."""
    print(f"{service}: {reason}", file=sys.stderr, flush=True)
    raise SystemExit(WORKER_BOOT_ERROR)
