"""Runs a local vendor: one process, one WSGI application on waitress, closed in order on SIGTERM.

serve("rollbar", application, host="127.0.0.1", port=4572, close=store.close)
"""

from __future__ import annotations

import errno
import gc
import logging
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

import waitress

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

#: Bodies up to this size are taken; each vendor then applies its own, smaller limit with its own error.
MAX_BODY = 64 * 1024 * 1024


def serve(name: str, application: WSGIApplication, host: str, port: int, close: Callable[[], None], threads: int = 16) -> None:
    """Serve until SIGTERM or SIGINT, then call ``close``. Exits with status 2 and one line when the port is taken."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # It warns of every request that waits for a thread, which under load is every request.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    log = logging.getLogger(name)
    try:
        server: Any = waitress.create_server(
            application,
            host=host,
            port=port,
            threads=threads,
            ident=None,
            max_request_body_size=MAX_BODY,
            # A batch of telemetry in one turn of the loop instead of many.
            recv_bytes=256 * 1024,
            inbuf_overflow=MAX_BODY,
            connection_limit=1000,
            channel_timeout=120,
            clear_untrusted_proxy_headers=True,
        )
    except OSError as error:
        close()
        reason = "is in use; `make doctor` names the process that holds it" if error.errno == errno.EADDRINUSE else str(error)
        print(f"{name}: port {host}:{port} {reason}", file=sys.stderr)
        sys.exit(2)

    def stop(_signum: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    # Next to nothing of a request's refers to each other in a circle: Python's collector need not look after every 700 objects.
    gc.set_threshold(10_000)
    log.info("listens on http://%s:%s", host, port)
    try:
        server.run()
    finally:
        server.close()
        close()
        log.info("stopped")
