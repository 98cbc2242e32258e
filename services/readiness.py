"""Says that a worker serves, outside of everything that is instrumented: asking costs no span, segment, log line or count.

gunicorn listens before a worker has loaded the application; an answer to ``GET /_parallax/ready`` says that one has.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

READY_PATH: Final = "/_parallax/ready"


class Readiness:
    """The outermost WSGI layer: 204 for the readiness path, the application for everything else."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != READY_PATH:
            return self._app(environ, start_response)
        start_response("204 No Content", [])
        return []
