"""Profiles: the second service. Answers user profiles, so that a trace of cruddur crosses into another process.

``gunicorn -c services/gunicorn.conf.py "services.profiles.app:create_app()"``
"""

from __future__ import annotations

from flask import Flask, Response, jsonify

from compose.settings import Settings, load_or_exit
from services import errors, faults, startup, telemetry
from services.cruddur import signals
from services.profiles import data
from services.readiness import Readiness

SERVICE = telemetry.Service(signals.OTEL_DOWNSTREAM_SERVICE, signals.XRAY_DOWNSTREAM_SEGMENT, log_events=False, errors=False)


def create_app(settings: Settings | None = None) -> Flask:
    """Make the application with its telemetry."""
    settings = settings or load_or_exit()
    app = Flask("services.profiles", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    try:
        telemetry.start(app, SERVICE, settings)
    except telemetry.TelemetryError as error:
        startup.refuse(SERVICE.name, str(error))
    errors.install(app)
    if settings.sandbox:
        faults.install(app, downstream_endpoints=frozenset({"profile"}))

    @app.get("/api/health-check")
    def health_check() -> Response:
        faults.inject()
        return jsonify(success=True)

    @app.get(signals.PROFILES_RULE)
    def profile(handle: str) -> Response:
        faults.carry_out_downstream()
        found = data.profile(handle)
        if found is None:
            raise errors.ApiError(404, "not_found", f"there is no profile of @{handle}")
        return jsonify(found)

    app.wsgi_app = Readiness(app.wsgi_app)  # type: ignore[method-assign]
    return app
