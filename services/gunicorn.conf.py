"""gunicorn's configuration of both services; which one it is shows in the application named on the command line.

Threads (``gthread``), because telemetry's SDKs keep their context per thread. No ``preload_app``: gunicorn then calls
the application factory in each worker, after the fork, so that exporters, pollers and queues live in the process that
serves requests. At the end of a worker ``worker_exit`` delivers what is still queued.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from compose.settings import load_or_exit

_settings = load_or_exit()
_cruddur = not any("services.profiles" in argument for argument in sys.argv)

proc_name = "cruddur" if _cruddur else "profiles"
bind = [f"{_settings.bind_host}:{_settings.cruddur_port if _cruddur else _settings.profiles_port}"]
worker_class = "gthread"
workers = _settings.cruddur_workers if _cruddur else 1
threads = _settings.cruddur_threads
preload_app = False
accesslog = None  # each request has its own log event
errorlog = "-"
loglevel = "warning"
# Longer than a load generator keeps an idle connection, so that none is closed just as it is used again.
keepalive = 75
timeout = 60
# For requests under way and then telemetry's own grace of five seconds: the master kills the worker after this time.
graceful_timeout = 9
control_socket_disable = True


def post_worker_init(worker: Any) -> None:  # noqa: ARG001
    """Keep the garbage collector off what start-up made, and make its rounds rarer.

    Spans and log events live for a moment longer than a request, which makes the default thresholds promote them, and walk all
    of the process's objects, several times a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def worker_exit(server: Any, worker: Any) -> None:  # noqa: ARG001
    """Deliver the telemetry that is still queued."""
    from services import telemetry

    app = getattr(getattr(worker, "app", None), "callable", None)
    if app is not None and "telemetry" in app.extensions:
        telemetry.of(app).stop()
