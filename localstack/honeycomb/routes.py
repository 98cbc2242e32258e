"""The HTTP API: ``/v1/…`` (OTLP) and ``/1/…`` (events, datasets, columns, queries). Translates the wire, decides nothing else."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, NotFound

from localstack import encoding
from localstack.honeycomb import events, otlp_http, problems, spec
from localstack.honeycomb.layout import slug
from localstack.honeycomb.limits import RateLimit
from localstack.honeycomb.models import ALL, Column, Dataset, Honeycomb, Query, QueryRun
from localstack.honeycomb.problems import ApiError, Detail
from localstack.honeycomb.results import Results
from localstack.otlp import INTERNAL, JSON, PROTOBUF, write
from localstack.store import StoreClosed

log = logging.getLogger(__name__)

#: Requests a minute that Honeycomb allows: of the API, and of query runs.
API_LIMIT = 100
QUERY_RUN_LIMIT = 10

COLUMN_TYPES = ("string", "integer", "float", "boolean")

_PERMISSIONS = {
    "events": True,
    "markers": True,
    "triggers": False,
    "boards": False,
    "queries": True,
    "columns": True,
    "createDatasets": True,
    "slos": False,
    "recipients": False,
    "privateBoards": False,
}
_PLACE = {"name": "parallax", "slug": "parallax"}

#: Parts of Honeycomb's API that this program does not have.
_NOT_IMPLEMENTED = (
    "boards",
    "burn_alerts",
    "dataset_definitions",
    "derived_columns",
    "kinesis_events",
    "maps",
    "marker_settings",
    "markers",
    "query_annotations",
    "recipients",
    "reporting",
    "slos",
    "triggers",
)


@dataclass(frozen=True)
class Keys:
    """``ingest`` sends, ``configuration`` sends and reads. They may be the same."""

    ingest: str
    configuration: str

    @property
    def all(self) -> tuple[str, str]:
        return self.ingest, self.configuration


def create_app(state: Honeycomb, results: Results, keys: Keys, enforce_rate_limits: bool = False) -> Flask:
    """The WSGI application. Rate limits are always told in headers, and enforced only on demand."""
    app = Flask("localstack.honeycomb", static_folder=None)
    api_limit, run_limit = RateLimit(API_LIMIT), RateLimit(QUERY_RUN_LIMIT)

    # -- OTLP

    def otlp(signal: otlp_http.Signal) -> Response:
        content_type = request.headers.get("Content-Type", "")
        key, dataset = request.headers.get("X-Honeycomb-Team", ""), request.headers.get("X-Honeycomb-Dataset", "")
        try:
            if content_type not in (*PROTOBUF, JSON):
                raise otlp_http.OtlpError(otlp_http.UNSUPPORTED_TYPE)
            otlp_http.check_key(signal, key, dataset, keys.all)
            if (request.content_length or 0) > otlp_http.MAX_BODY:
                raise otlp_http.OtlpError(otlp_http.TOO_LARGE)
            message = otlp_http.parse(signal, request.get_data(cache=False), content_type, request.headers.get("Content-Encoding", ""))
            state.add(signal.translate(message, dataset, otlp_http.is_classic(key)))
        except otlp_http.OtlpError as error:
            body, answer_type = otlp_http.failure(error.refusal, content_type)
            return Response(body, error.refusal.http_status, content_type=answer_type)
        except StoreClosed:
            body, answer_type = otlp_http.failure(otlp_http.CLOSING, content_type)
            return Response(body, otlp_http.CLOSING.http_status, content_type=answer_type)
        return Response(write(signal.response(), content_type), content_type=content_type)

    for signal in otlp_http.SIGNALS:
        app.add_url_rule(signal.path, signal.path, otlp, methods=["POST"], defaults={"signal": signal})

    # -- keys and limits

    @app.before_request
    def authorize() -> None:
        if request.path.startswith("/v1/"):
            return
        part = request.path.split("/")[2] if request.path.startswith("/1/") else ""
        sends = part in ("auth", "batch", "events")
        key = request.headers.get("X-Honeycomb-Team", "")
        if not otlp_http.same_key(key, keys.all if sends else (keys.configuration,)):
            raise problems.unauthorized()
        if part in ("batch", "events"):
            return
        runs_query = part == "query_results" and request.method == "POST"
        g.allowance = (run_limit if runs_query else api_limit).take()
        if g.allowance.exceeded and enforce_rate_limits:
            raise problems.rate_limited(g.allowance.reset)

    @app.after_request
    def tell_limits(response: Response) -> Response:
        if "allowance" in g:
            response.headers.update(g.allowance.headers())
        return response

    @app.get("/1/auth")
    def auth() -> Response:
        key = request.headers["X-Honeycomb-Team"]
        configuration = otlp_http.same_key(key, (keys.configuration,))
        return _json(
            {
                # A name for the key that does not give the key away.
                "id": hashlib.sha256(key.encode()).hexdigest()[:22],
                "type": "configuration" if configuration else "ingest",
                "api_key_access": _PERMISSIONS if configuration else {"createDatasets": True},
                "environment": _PLACE,
                "team": _PLACE,
            }
        )

    # -- events

    @app.post("/1/batch/<dataset>")
    def batch(dataset: str) -> Response:
        body = _body(events.MAX_BATCH)
        result = events.batch(
            body, request.headers.get("Content-Type", ""), _name(dataset), time.time_ns(), state.expand_json_depth(dataset)
        )
        state.add(result.rows)
        return _json(result.statuses)

    @app.post("/1/events/<dataset>")
    def event(dataset: str) -> Response:
        rows = events.single(
            _body(events.MAX_EVENT),
            request.headers.get("Content-Type", ""),
            _name(dataset),
            request.headers.get("X-Honeycomb-Event-Time", ""),
            request.headers.get("X-Honeycomb-Samplerate", ""),
            time.time_ns(),
            state.expand_json_depth(dataset),
        )
        state.add(rows)
        return Response(b"", 200)

    # -- datasets

    @app.get("/1/datasets")
    def datasets() -> Response:
        return _json([_dataset(dataset) for dataset in state.datasets()])

    @app.post("/1/datasets")
    def create_dataset() -> Response:
        document = _document()
        check = _Check(document)
        name = check.text("name", required=True, most=255)
        description = check.text("description", most=255)
        depth = check.integer("expand_json_depth", 0, 10)
        check.done()
        if slug(name) == slug(ALL):
            raise problems.invalid([Detail("name", "invalid", f"{ALL} is not a dataset")])
        dataset, created = state.create_dataset(name, description, depth)
        return _json(_dataset(dataset), 201 if created else 200)

    @app.get("/1/datasets/<dataset>")
    def dataset(dataset: str) -> Response:
        found = state.dataset(dataset)
        if found is None:
            raise problems.not_found("Dataset")
        return _json(_dataset(found))

    @app.delete("/1/datasets/<dataset>")
    def delete_dataset(dataset: str) -> Response:
        if not state.delete_dataset(dataset):
            raise problems.not_found("Dataset")
        return Response(b"", 202)

    # -- columns

    @app.get("/1/columns/<dataset>")
    def columns(dataset: str) -> Response:
        _known(state, dataset)
        key_name = request.args.get("key_name")
        found = state.columns(dataset)
        if key_name is None:
            return _json([_column(column) for column in found])
        return _json(_column(_first(column for column in found if column.key_name == key_name)))

    @app.post("/1/columns/<dataset>")
    def create_column(dataset: str) -> Response:
        _known(state, dataset)
        check = _Check(_document())
        key_name = check.text("key_name", required=True, most=255)
        kind = check.text("type", choices=COLUMN_TYPES) or "string"
        description = check.text("description", most=255)
        hidden = check.boolean("hidden")
        check.done()
        column = state.create_column(dataset, key_name, kind, description, hidden)
        if column is None:
            raise problems.invalid([Detail("key_name", "already_exists", f"the dataset has a column {key_name} already")])
        return _json(_column(column), 201)

    @app.get("/1/columns/<dataset>/<identifier>")
    def column(dataset: str, identifier: str) -> Response:
        _known(state, dataset)
        return _json(_column(_first(column for column in state.columns(dataset) if column.id == identifier)))

    @app.put("/1/columns/<dataset>/<identifier>")
    def update_column(dataset: str, identifier: str) -> Response:
        _known(state, dataset)
        document = _document()
        check = _Check(document)
        changes: dict[str, Any] = {}
        if "type" in document:
            changes["type"] = check.text("type", required=True, choices=COLUMN_TYPES)
        if "description" in document:
            changes["description"] = check.text("description", most=255)
        if "hidden" in document:
            changes["hidden"] = check.boolean("hidden")
        check.done()
        _first(column for column in state.columns(dataset) if column.id == identifier)
        state.update_column(dataset, identifier, changes)
        return _json(_column(_first(column for column in state.columns(dataset) if column.id == identifier)))

    @app.delete("/1/columns/<dataset>/<identifier>")
    def delete_column(dataset: str, identifier: str) -> Response:
        _known(state, dataset)
        _first(column for column in state.columns(dataset) if column.id == identifier)
        state.delete_column(dataset, identifier)
        return Response(b"", 204)

    # -- queries

    @app.post("/1/queries/<dataset>")
    def create_query(dataset: str) -> Response:
        place = _known(state, dataset, all_allowed=True)
        document = _document()
        try:
            spec.parse(document)
        except spec.Invalid as error:
            raise problems.invalid(error.details) from None
        document.pop("id", None)
        return _json(_query(state.create_query(place, document)))

    @app.get("/1/queries/<dataset>/<identifier>")
    def query(dataset: str, identifier: str) -> Response:
        return _json(_query(_stored_query(_known(state, dataset, all_allowed=True), identifier)))

    @app.post("/1/query_results/<dataset>")
    def create_query_result(dataset: str) -> Response:
        place = _known(state, dataset, all_allowed=True)
        check = _Check(_document())
        identifier = check.text("query_id", required=True)
        disable_series = check.boolean("disable_series")
        limit = check.integer("limit", 1, spec.MAX_ROWS if disable_series else spec.MAX_ROWS_WITH_SERIES)
        check.done()
        stored = _stored_query(place, identifier)
        run = state.create_query_run(place, stored.id, disable_series, limit or None)
        results.start(run, stored)
        answer = _json({**_run(run, stored), "complete": False}, 201)
        answer.headers["Location"] = f"/1/query_results/{run.dataset}/{run.id}"
        return answer

    @app.get("/1/query_results/<dataset>/<identifier>")
    def query_result(dataset: str, identifier: str) -> Response:
        place = _known(state, dataset, all_allowed=True)
        run = state.query_run(place, identifier)
        if run is None:
            raise problems.not_found("Query result")
        stored = _stored_query(place, run.query_id)
        future = results.start(run, stored)
        head = _run(run, stored)
        if not future.done():
            return _json({**head, "complete": False})
        # The result is JSON already: put it into the answer as it is.
        text = orjson.dumps({**head, "complete": True})[:-1] + b"," + future.result()[1:]
        return Response(text, content_type="application/json")

    def _stored_query(place: str, identifier: str) -> Query:
        found = state.query(place, identifier)
        if found is None:
            raise problems.not_found("Query")
        return found

    # -- everything else

    @app.errorhandler(ApiError)
    def api_error(error: ApiError) -> Response:
        response = Response(orjson.dumps(error.body()), error.status, content_type=error.content_type)
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(error.retry_after)
        return response

    @app.errorhandler(events.Rejected)
    def rejected(error: events.Rejected) -> Response:
        return api_error(problems.bad_request(str(error)))

    @app.errorhandler(StoreClosed)
    def closing(error: StoreClosed) -> Response:  # noqa: ARG001
        return api_error(ApiError(503, otlp_http.CLOSING.message))

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        parts = request.path.split("/")
        if isinstance(error, NotFound):
            if (len(parts) > 2 and parts[1] == "1" and parts[2] in _NOT_IMPLEMENTED) or parts[1] == "2":
                return api_error(problems.not_implemented(f"/{parts[1]}/{parts[2] if len(parts) > 2 else ''}"))
            return api_error(problems.not_found("Endpoint"))
        response = api_error(ApiError(error.code or 500, error.description or error.name))
        response.headers.extend({key: value for key, value in error.get_headers() if key not in ("Content-Type", "Content-Length")})
        return response

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.path, exc_info=error)
        if request.path.startswith("/v1/"):
            refusal = otlp_http.Refusal(500, INTERNAL, "the request failed; the reason is in the log of honeycomb")
            body, content_type = otlp_http.failure(refusal, request.headers.get("Content-Type", ""))
            return Response(body, 500, content_type=content_type)
        return api_error(ApiError(500, "the request failed; the reason is in the log of honeycomb"))

    return app


# -- reading requests


def _body(limit: int) -> bytes:
    if (request.content_length or 0) > limit:
        raise problems.bad_request(events.TOO_LARGE)
    try:
        return encoding.decode(request.get_data(cache=False), request.headers.get("Content-Encoding", ""), limit)
    except encoding.BodyTooLarge:
        raise problems.bad_request(events.TOO_LARGE) from None
    except encoding.BodyMalformed:
        raise problems.bad_request(events.MALFORMED) from None


def _document() -> dict[str, Any]:
    """The JSON object in the request."""
    body = _body(events.MAX_BATCH)
    if not body:
        raise problems.bad_request(events.EMPTY)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise problems.bad_request(events.MALFORMED) from None
    if not isinstance(document, dict):
        raise problems.bad_request(events.MALFORMED)
    return document


def _name(dataset: str) -> str:
    """The name of a dataset to write to."""
    name = dataset.strip()
    if not name or slug(name) == slug(ALL):
        raise problems.not_found("Dataset")
    return name


def _known(state: Honeycomb, dataset: str, all_allowed: bool = False) -> str:
    """The slug of a dataset that exists, or ``__all__`` where that is allowed."""
    if all_allowed and dataset == ALL:
        return ALL
    if not state.has_dataset(dataset):
        raise problems.not_found("Dataset")
    return slug(dataset)


def _first(found: Any) -> Column:
    column: Column | None = next(iter(found), None)
    if column is None:
        raise problems.not_found("Column")
    return column


class _Check:
    """Reads the fields of a document and collects what is wrong with them."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.details: list[Detail] = []

    def text(self, name: str, required: bool = False, most: int = 10_000, choices: Sequence[str] = ()) -> str:
        value = self.document.get(name)
        if value is None:
            if required:
                self.details.append(Detail(name, "missing", "is required"))
            return ""
        if not isinstance(value, str):
            self.details.append(Detail(name, "incorrect_type", "must be a string"))
            return ""
        if required and not value.strip():
            self.details.append(Detail(name, "invalid", "must not be empty"))
        elif len(value) > most:
            self.details.append(Detail(name, "invalid", f"must have at most {most} characters"))
        elif choices and value and value not in choices:
            self.details.append(Detail(name, "invalid", f"must be one of {', '.join(choices)}"))
        return value

    def integer(self, name: str, least: int, most: int) -> int:
        value = self.document.get(name)
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int):
            self.details.append(Detail(name, "incorrect_type", "must be an integer"))
            return 0
        if not least <= value <= most:
            self.details.append(Detail(name, "invalid", f"must be between {least} and {most}"))
        return value

    def boolean(self, name: str) -> bool:
        value = self.document.get(name)
        if value is not None and not isinstance(value, bool):
            self.details.append(Detail(name, "incorrect_type", "must be true or false"))
        return value is True

    def done(self) -> None:
        if self.details:
            raise problems.invalid(self.details)


# -- writing answers


def _json(document: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, content_type="application/json")


def _time(nanoseconds: int | None) -> str | None:
    if nanoseconds is None:
        return None
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _dataset(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "slug": dataset.slug,
        "description": dataset.description,
        "settings": {"delete_protected": False},
        "expand_json_depth": dataset.expand_json_depth,
        "regular_columns_count": dataset.columns,
        "last_written_at": _time(dataset.last_written_at),
        "created_at": _time(dataset.created_at),
    }


def _column(column: Column) -> dict[str, Any]:
    return {
        "id": column.id,
        "key_name": column.key_name,
        "type": column.type,
        "description": column.description,
        "hidden": column.hidden,
        "last_written": _time(column.last_written_at),
        "created_at": _time(column.created_at),
        "updated_at": _time(column.updated_at),
    }


def _query(query: Query) -> dict[str, Any]:
    return {**query.spec, "id": query.id}


def _run(run: QueryRun, query: Query) -> dict[str, Any]:
    return {
        "query": _query(query),
        "id": run.id,
        "links": {
            "query_url": f"{request.host_url}1/query_results/{run.dataset}/{run.id}",
            # Honeycomb draws an image; there is none here.
            "graph_image_url": "",
        },
    }
