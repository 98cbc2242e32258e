"""Cruddur's application factory.

``gunicorn -c services/gunicorn.conf.py "services.cruddur.app:create_app()"``
"""

from __future__ import annotations

import logging

from flask import Flask

from compose.settings import Settings, load_or_exit
from services import errors, faults, startup, telemetry
from services.cruddur import routes, signals
from services.cruddur.profiles_client import ProfilesClient
from services.cruddur.store import Store, StoreError, StoreUnavailable
from services.readiness import Readiness

_log = logging.getLogger(__name__)

SERVICE = telemetry.Service(signals.OTEL_SERVICE, signals.XRAY_SEGMENT, log_events=True, errors=True)

#: Bytes of a body; the longest message, each character escaped, is far below.
MAX_BODY = 64 * 1024


def create_app(settings: Settings | None = None) -> Flask:
    """Make the application with its telemetry. Raises SystemExit, after one line on standard error, when the database or
    an instrumentation is unusable."""
    settings = settings or load_or_exit()
    app = Flask("services.cruddur", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]

    # Before any other hook, so that the SDKs see the request from its beginning to its end.
    try:
        running = telemetry.start(app, SERVICE, settings)
    except telemetry.TelemetryError as error:
        startup.refuse(SERVICE.name, str(error))
    errors.install(app)
    if settings.sandbox:
        faults.install(app, downstream_endpoints=routes.CALLS_PROFILES)
    app.extensions["profiles"] = ProfilesClient(settings.profiles_url, settings.profiles_timeout)
    try:
        store = Store(settings.sqlalchemy_url)
        running.instrument_engine(store.engine)
        try:
            store.prepare()
        except StoreUnavailable as error:
            # Programs start in any order; the first request tries again.
            _log.warning("the database does not answer yet: %s", error)
    except (StoreError, telemetry.TelemetryError) as error:
        startup.refuse(SERVICE.name, str(error))
    app.extensions["store"] = store

    @app.before_request
    def database_is_there() -> None:
        if not store.ready:
            try:
                store.prepare()
            except (StoreUnavailable, StoreError) as error:
                _log.warning("the database cannot be used: %s", error)
                raise errors.ApiError(503, "database_unavailable", "the database does not answer; try again") from None

    app.register_blueprint(routes.api)
    app.wsgi_app = Readiness(app.wsgi_app)  # type: ignore[method-assign]
    return app
