"""moto, for every service that is not kept here. Loaded at the first call that needs it: it costs about 25 MB and more.

Its state is in memory and gone after a restart. It never sees a call of X-Ray or CloudWatch Logs, so nothing exists there and not here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication


class Moto:
    """A WSGI application that is moto's server."""

    def __init__(self) -> None:
        self._application: WSGIApplication | None = None
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        with self._lock:
            if self._application is None:
                from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

                self._application = DomainDispatcherApplication(create_backend_app)
        return self._application(environ, start_response)
