"""Rollbar's API, version 1, over HTTP. Decides nothing about items: it reads requests, asks the state and writes answers.

Source: Rollbar's API reference ("Items", "Occurrences", "Reports", "Deploys", "RQL", "Rate Limits"). Every answer is JSON:
``{"err": 0, "result": …}``, or ``{"err": 1, "message": …}`` with a status from 400 on. Paths take a trailing slash or none.
"""

from __future__ import annotations

import hmac
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.routing import BaseConverter

from localstack.rollbar.models import ITEMS_A_PAGE, OCCURRENCES_A_PAGE, DeployStatus, Rollbar, Status
from localstack.rollbar.payload import CLIENT_PLATFORMS, LEVELS, InvalidItem, NotJson, occurrence, parse
from localstack.store import StoreClosed

log = logging.getLogger("rollbar")

#: Bytes of the largest body ("Max payload size is 1,024 KB").
MAX_PAYLOAD = 1024 * 1024

#: Calls a minute that Rollbar grants a token by default.
CALLS_A_MINUTE = 5_000

#: Items that one page may hold at most.
_LONGEST_PAGE = 5_000

#: The largest id a request may name; more does not fit into the database's integers.
_LARGEST = 2**53 - 1

#: The largest page: so many of the longest pages still have a number in the database's integers.
_LAST_PAGE = _LARGEST // _LONGEST_PAGE


class Scope(StrEnum):
    """What a project access token may do."""

    POST_SERVER_ITEM = "post_server_item"
    POST_CLIENT_ITEM = "post_client_item"
    READ = "read"
    WRITE = "write"


class Refused(Exception):
    """An answer with ``err`` 1."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass
class _Window:
    began: float
    calls: int


class RateLimit:
    """Counts each token's calls in windows of one minute. Safe from any thread."""

    def __init__(self, calls: int, now: Callable[[], float]) -> None:
        self.calls = calls
        self._now = now
        self._windows: dict[str, _Window] = {}
        self._lock = threading.Lock()

    def count(self, token: str) -> tuple[bool, dict[str, str]]:
        """Count one call: whether it is within the limit, and the headers that say so."""
        now = self._now()
        with self._lock:
            window = self._windows.get(token)
            if window is None or not 0 <= now - window.began < 60:
                window = self._windows[token] = _Window(now // 60 * 60, 0)
            window.calls += 1
            left, reset = self.calls - window.calls, int(window.began) + 60
        return left >= 0, {
            "X-Rate-Limit-Limit": str(self.calls),
            "X-Rate-Limit-Remaining": str(max(left, 0)),
            "X-Rate-Limit-Remaining-Seconds": str(max(0, int(reset - now))),
            "X-Rate-Limit-Reset": str(reset),
        }


class _Id(BaseConverter):
    """A positive integer of at most sixteen digits: any larger one names nothing."""

    regex = r"[0-9]{1,16}"

    def to_python(self, value: str) -> int:
        return int(value)


def create_app(
    state: Rollbar, tokens: Mapping[str, frozenset[Scope]], calls_a_minute: int = CALLS_A_MINUTE, now: Callable[[], float] = time.time
) -> Flask:
    """The WSGI application. ``tokens`` maps each project access token to its scopes."""
    app = Flask("localstack.rollbar", static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.converters["id"] = _Id
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = MAX_PAYLOAD
    limit = RateLimit(calls_a_minute, now)

    def authorized(scope: Scope, token: str | None) -> None:
        """Refuse a call without a known token of the right scope, or over the rate limit."""
        if not token:
            raise Refused(401, "access token is required")
        known = next((each for each in tokens if hmac.compare_digest(each.encode(), token.encode("utf-8", "replace"))), None)
        if known is None:
            raise Refused(401, "invalid access token")
        within, headers = limit.count(known)
        request.environ["rollbar.headers"] = headers
        if not within:
            raise Refused(429, "over rate limit")
        if scope not in tokens[known]:
            raise Refused(
                403,
                f"insufficient privileges: {scope} scope is required but the access token only has {', '.join(sorted(tokens[known]))}.",
            )

    def reading() -> None:
        authorized(Scope.READ, _token())

    # -- items in

    @app.post("/api/1/item")
    def post_item() -> Response:
        document = _payload()
        in_body = document.get("access_token") if isinstance(document, dict) else None
        data = document.get("data") if isinstance(document, dict) else None
        platform = data.get("platform") if isinstance(data, dict) else None
        client = isinstance(platform, str) and platform in CLIENT_PLATFORMS
        scope = Scope.POST_CLIENT_ITEM if client else Scope.POST_SERVER_ITEM
        authorized(scope, _token() or (in_body if isinstance(in_body, str) else None))
        _fill_in_address(data)
        try:
            accepted = state.add(occurrence(document))
        except InvalidItem as error:
            raise Refused(422, f"Invalid format. {error}") from None
        if accepted.discarded:
            log.info("discarded an occurrence whose uuid is known")
        return _ok({"uuid": accepted.uuid, "id": None})

    # -- items and occurrences out

    @app.get("/api/1/items")
    def list_items() -> Response:
        reading()
        page = _number("page", 1, low=1, high=_LAST_PAGE)
        found = state.items(
            statuses=_choices("status", Status),
            levels=_choices("level", LEVELS),
            environments=_several("environment"),
            frameworks=_several("framework"),
            ids=_ids("ids"),
            words=[word for name in ("query", "q") for word in request.args.get(name, "").split()],
            page=page,
            limit=_number("limit", ITEMS_A_PAGE, low=1, high=_LONGEST_PAGE),
        )
        return _ok({"page": page, "total_count": found.total, "items": found.rows})

    @app.get("/api/1/item")
    def find_item() -> Response:
        reading()
        if uuid := request.args.get("uuid"):
            return _ok(_found(state.item_by_uuid(uuid), "UUID did not match any occurrence"))
        if "counter" in request.args:
            return _ok(_found(state.item_by_counter(_number("counter", 0)), "Item not found"))
        raise Refused(422, "give a uuid or a counter")

    @app.get("/api/1/item/<id:item_id>")
    def get_item(item_id: int) -> Response:
        reading()
        return _ok(_found(state.item(item_id), "Item not found"))

    @app.get("/api/1/item_by_counter/<id:counter>")
    def get_item_by_counter(counter: int) -> Response:
        reading()
        item = _found(state.item_by_counter(counter), "Item not found")
        path = f"/api/1/item/{item['id']}"
        # Rollbar puts the token into the address; only one that came in the address goes back there.
        uri = f"{path}?access_token={token}" if (token := request.args.get("access_token")) else path
        answer = _ok({"itemId": item["id"], "path": path, "uri": uri}, 301)
        answer.headers["Location"] = uri
        return answer

    @app.patch("/api/1/item/<id:item_id>")
    def patch_item(item_id: int) -> Response:
        authorized(Scope.WRITE, _token())
        changes = _item_changes(_payload())
        return _ok(_found(state.change_item(item_id, changes), "Item not found"))

    @app.get("/api/1/instances")
    def list_instances() -> Response:
        reading()
        return _instances(state, None)

    @app.get("/api/1/item/<id:item_id>/instances")
    def list_instances_of_item(item_id: int) -> Response:
        reading()
        _found(state.item(item_id), "Item not found")
        return _instances(state, item_id)

    @app.get("/api/1/instance/<id:occurrence_id>")
    def get_instance(occurrence_id: int) -> Response:
        reading()
        return _ok(_found(state.occurrence(occurrence_id), "Occurrence not found"))

    @app.delete("/api/1/instance/<id:occurrence_id>")
    def delete_instance(occurrence_id: int) -> Response:
        authorized(Scope.WRITE, _token())
        if not state.delete_occurrence(occurrence_id):
            raise Refused(404, "Occurrence not found")
        return _answer({"err": 0, "message": "The instance has been deleted"}, 200)

    # -- reports

    @app.get("/api/1/reports/occurrence_counts")
    def occurrence_counts() -> Response:
        reading()
        bucket = _number("bucket_size", 86_400)
        if bucket not in (60, 3_600, 86_400):
            raise Refused(422, "bucket_size must be 60, 3600 or 86400")
        return _ok(state.occurrence_counts(bucket, _number("buckets", 60, low=2, high=60), _several("environments")))

    @app.get("/api/1/reports/top_active_items")
    def top_active_items() -> Response:
        reading()
        return _ok(state.top_active_items(_number("hours", 24, low=1, high=168), _several("environments")))

    # -- deploys

    @app.post("/api/1/deploy")
    def post_deploy() -> Response:
        fields = _fields()
        in_body = fields.get("access_token")
        authorized(Scope.POST_SERVER_ITEM, _token() or (in_body if isinstance(in_body, str) else None))
        return _answer({"err": 0, "data": {"deploy_id": state.add_deploy(_deploy(fields))}}, 200)

    @app.get("/api/1/deploys")
    def list_deploys() -> Response:
        reading()
        page = _number("page", 1, low=1, high=_LAST_PAGE)
        return _ok({"page": page, "deploys": state.deploys(page)})

    @app.get("/api/1/deploy/<id:deploy_id>")
    def get_deploy(deploy_id: int) -> Response:
        reading()
        return _ok(_found(state.deploy(deploy_id), "Deploy not found"))

    @app.patch("/api/1/deploy/<id:deploy_id>")
    def patch_deploy(deploy_id: int) -> Response:
        authorized(Scope.POST_SERVER_ITEM, _token())
        status = _fields().get("status")
        if not isinstance(status, str) or status not in set(DeployStatus):
            raise Refused(422, f"status must be one of {', '.join(DeployStatus)}")
        return _ok(_found(state.finish_deploy(deploy_id, status), "Deploy not found"))

    # -- the rest

    @app.get("/api/1/status/ping")
    def ping() -> Response:
        return Response("pong", mimetype="text/plain")

    @app.route("/api/1/rql/<path:rest>", methods=["GET", "POST"])
    def rql(rest: str) -> Response:  # noqa: ARG001  Flask passes what the rule matched
        reading()
        raise Refused(403, "RQL is not available on this account's plan (Advanced and Enterprise only)")

    @app.get("/api/1/projects")
    def projects() -> Response:
        # An account's resource: a project access token, the only kind there is here, may not read it.
        reading()
        raise Refused(403, "insufficient privileges: an account access token is required")

    @app.errorhandler(Refused)
    def refused(error: Refused) -> Response:
        return _answer({"err": 1, "message": error.message}, error.status)

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(_: RequestEntityTooLarge) -> Response:
        return _answer({"err": 1, "message": "request entity too large"}, 413)

    @app.errorhandler(StoreClosed)
    def closing(_: StoreClosed) -> Response:
        return _answer({"err": 1, "message": "this server is shutting down; nothing was stored"}, 503)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        return _answer({"err": 1, "message": f"{error.code} {error.name}"}, error.code or 500)

    @app.after_request
    def rate_headers(response: Response) -> Response:
        response.headers.extend(request.environ.get("rollbar.headers", {}))
        return response

    return app


# -- reading a request


def _token() -> str | None:
    """The access token of the header, or of the query."""
    return request.headers.get("X-Rollbar-Access-Token") or request.args.get("access_token")


def _payload() -> Any:
    """The JSON document of the body: raw, or as the form's ``payload``."""
    text = request.get_data(cache=True)
    if request.mimetype in ("application/x-www-form-urlencoded", "multipart/form-data") and not text.lstrip().startswith((b"{", b"[")):
        text = request.form.get("payload", "").encode("utf-8", "surrogatepass")
    if not text.strip():
        raise Refused(400, "no JSON payload was found")
    try:
        return parse(text)
    except NotJson as error:
        raise Refused(400, f"the JSON payload could not be decoded: {error}") from None


def _fields() -> dict[str, Any]:
    """The fields of a form, or of a JSON object."""
    if request.mimetype in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return request.form.to_dict()
    document = _payload()
    if not isinstance(document, dict):
        raise Refused(422, "the payload must be an object")
    return document


def _number(name: str, default: int, low: int = 0, high: int = _LARGEST) -> int:
    text = request.args.get(name)
    if text is None or text == "":
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and low <= int(text) <= high):
        raise Refused(422, f"{name} must be an integer from {low}{f' to {high}' if high != _LARGEST else ''}")
    return int(text)


def _several(name: str) -> list[str]:
    """A parameter that may be given more than once, or as a list with commas."""
    return [value for text in request.args.getlist(name) for value in text.split(",") if value]


def _choices(name: str, allowed: Any) -> list[str]:
    chosen = _several(name)
    if wrong := [value for value in chosen if value not in set(allowed)]:
        raise Refused(422, f"{name} does not know {', '.join(wrong)}; choose from {', '.join(allowed)}")
    return chosen


def _ids(name: str) -> list[int]:
    values = _several(name)
    if not all(value.isascii() and value.isdigit() and len(value) <= 16 for value in values):
        raise Refused(422, f"{name} must be integers separated by commas")
    return [int(value) for value in values]


def _item_changes(document: Any) -> dict[str, Any]:
    """The changes a PATCH asks for, checked as "Modify an item" documents them."""
    if not isinstance(document, dict):
        raise Refused(422, "the payload must be an object")
    changes: dict[str, Any] = {}
    if (status := document.get("status")) is not None:
        if not isinstance(status, str) or status not in set(Status):
            raise Refused(422, f"status must be one of {', '.join(Status)}")
        changes["status"] = status
    if (level := document.get("level")) is not None:
        if not isinstance(level, str) or level not in LEVELS:
            raise Refused(422, f"level must be one of {', '.join(reversed(LEVELS))}")
        changes["level"] = level
    if (title := document.get("title")) is not None:
        if not isinstance(title, str) or not 1 <= len(title) <= 255:
            raise Refused(422, "title must be a string of 1 to 255 characters")
        changes["title"] = title
    if (version := document.get("resolved_in_version")) is not None:
        if not isinstance(version, str) or len(version) > 40:
            raise Refused(422, "resolved_in_version must be a string of at most 40 characters")
        changes["resolved_in_version"] = version
    if "assigned_user_id" in document:
        user = document["assigned_user_id"]
        if user is not None and (isinstance(user, bool) or not isinstance(user, int) or not 0 <= user <= _LARGEST):
            raise Refused(422, "assigned_user_id must be null or the id of a user")
        changes["assigned_user_id"] = user
    if not changes:
        raise Refused(422, "give at least one of status, level, title, assigned_user_id, resolved_in_version")
    return changes


def _deploy(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a deploy, checked as "Record a deploy" documents them."""
    deploy = {"revision": fields.get("revision") or fields.get("head_long")}
    deploy |= {name: fields.get(name) for name in ("environment", "local_username", "rollbar_username", "comment", "status")}
    longest = {"comment": 64 * 1024}
    for name, value in deploy.items():
        if value is None and name in ("environment", "revision"):
            raise Refused(422, f"{name} is required")
        if value is not None and (not isinstance(value, str) or len(value) > longest.get(name, 255)):
            raise Refused(422, f"{name} must be a string of at most {longest.get(name, 255)} characters")
    if deploy["status"] and deploy["status"] not in set(DeployStatus):
        raise Refused(422, f"status must be one of {', '.join(DeployStatus)}")
    return deploy


def _fill_in_address(data: Any) -> None:
    """Replace the documented ``$remote_ip`` by the address the item came from."""
    about = data.get("request") if isinstance(data, dict) else None
    if isinstance(about, dict) and about.get("user_ip") == "$remote_ip":
        about["user_ip"] = request.remote_addr


# -- writing an answer


def _instances(state: Rollbar, item_id: int | None) -> Response:
    page = _number("page", 1, low=1, high=_LAST_PAGE)
    last = next((name for name in ("lastId", "last_id") if request.args.get(name)), None)
    before = _number(last, 0) if last else None
    limit = _number("limit", OCCURRENCES_A_PAGE, low=1, high=100)
    return _ok({"page": page, "instances": state.occurrences(item_id, page, before, limit)})


def _found(thing: dict[str, Any] | None, otherwise: str) -> dict[str, Any]:
    if thing is None:
        _not_found(otherwise)
    return thing


def _not_found(message: str) -> NoReturn:
    raise Refused(404, message)


def _ok(result: Any, status: int = 200) -> Response:
    return _answer({"err": 0, "result": result}, status)


def _answer(document: Mapping[str, Any], status: int) -> Response:
    # ASCII only: a payload may hold what is no Unicode text, and it must come back as it was.
    return Response(json.dumps(document), status=status, mimetype="application/json")
