"""The factory of the web page: ``create_app(settings)`` makes a Flask application that reads runs below STATE_DIR and asks the vendors."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from flask import Flask, Response, request, url_for

from compose.settings import Settings
from services.compare.web import contrast, cost, live, numbers, run, runs, security, text, words
from services.compare.web import request as one_request
from services.compare.web.imported import asked_of_vendors, imported
from services.compare.web.replays import CONTEXT as OF_REPLAYS
from services.compare.web.site import Site, context, error_page
from services.compare.web.vendors import VENDORS

#: Every page but the vendors' own.
PAGES = (
    runs.blueprint,
    live.blueprint,
    run.blueprint,
    one_request.blueprint,
    cost.blueprint,
    contrast.blueprint,
)

#: The tabs of a run: name, label, endpoint.
RUN_PAGES = (
    ("overview", "Overview", "run.overview"),
    ("requests", "Requests", "run.requests"),
    ("attributes", "Attributes", "run.attributes"),
    ("cost", "Cost", "cost.show"),
    ("contrast", "Against another run", "contrast.choose"),
)

#: Form fields are short; nobody uploads anything else.
MAX_BODY = 1024 * 1024


def create_app(settings: Settings) -> Flask:
    """The application for these settings. Any number of them can be made."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.extensions["parallax"] = Site(settings)
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    app.jinja_env.filters |= {**numbers.FILTERS, "shown": text.shown, "pretty": text.pretty, "plain": text.plain}
    app.jinja_env.globals |= {"words": words, "vendors": VENDORS, "percent": numbers.percent, "asset": _asset, "run_pages": RUN_PAGES}
    security.protect(app, settings)
    app.context_processor(context)
    app.context_processor(lambda: {"imported": imported, "imported_asked": asked_of_vendors, **OF_REPLAYS})
    app.register_error_handler(Exception, error_page)
    for blueprint in (*PAGES, *(vendor.blueprint for vendor in VENDORS)):
        app.register_blueprint(blueprint)
    app.add_url_rule("/healthz", "healthz", lambda: Response("parallax\n", mimetype="text/plain"))
    app.after_request(_cache_assets)
    return app


def _asset(name: str) -> str:
    """The address of a static file, which changes with what is in it, so that it may be cached for ever."""
    return url_for("static", filename=name, v=_digest(name))


@lru_cache(maxsize=256)
def _digest(name: str) -> str:
    return hashlib.sha256((Path(__file__).with_name("static") / name).read_bytes()).hexdigest()[:12]


def _cache_assets(response: Response) -> Response:
    if request.endpoint == "static" and "v" in request.args and response.status_code == 200:
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response
