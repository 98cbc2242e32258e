"""Cruddur's routes: read the input, ask the store and profiles, answer JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, current_app, jsonify

from services import telemetry
from services.cruddur import bodies, signals
from services.cruddur.profiles_client import ProfilesClient
from services.cruddur.store import Row, Store
from services.errors import ApiError, body, query, value
from services.faults import inject
from services.telemetry.events import Events
from services.telemetry.identity import current

api = Blueprint("api", __name__)

#: Endpoints that call profiles; a downstream fault means nothing on others.
CALLS_PROFILES = frozenset({"api.user", "api.messages"})


def _store() -> Store:
    store = current_app.extensions["store"]
    assert isinstance(store, Store)
    return store


def _profiles() -> ProfilesClient:
    client = current_app.extensions["profiles"]
    assert isinstance(client, ProfilesClient)
    return client


def _telemetry() -> telemetry.Telemetry:
    return telemetry.of(current_app)


def _user(handle: str) -> Row:
    user = _store().user(handle)
    if user is None:
        raise _no_user(handle)
    return user


def _no_user(handle: str) -> ApiError:
    return ApiError(404, "not_found", f"there is no user @{handle}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _created(row: Row) -> Response:
    response = jsonify(row)
    response.status_code = 201
    return response


@api.get("/api/health-check")
def health_check() -> Response:
    inject()
    return jsonify(success=True)


@api.get("/api/activities/home")
def home() -> Response:
    with (
        _telemetry().span(signals.HOME_TRACER, signals.HOME_SPAN) as span,
        _telemetry().subsegment(signals.HOME_SUBSEGMENT) as subsegment,
    ):
        span.set_attribute("app.now", _now())
        inject()
        activities = _store().home()
        span.set_attribute("app.result_length", len(activities))
        subsegment.put_annotation("result_length", len(activities))
    events, identity = current_app.extensions.get("events"), current()
    if isinstance(events, Events) and identity is not None:
        events.emit(signals.HOME_EVENT, identity, f"home {len(activities)} activities", {"result_length": len(activities)})
    return jsonify(activities)


@api.get("/api/activities/notifications")
def notifications() -> Response:
    handle = query(bodies.OptionalUserQuery).user_handle
    inject()
    return jsonify(_store().notifications(None if handle is None else _user(handle)))


@api.get("/api/activities/@<string:handle>")
def user(handle: str) -> Response:
    handle = value(bodies.HandlePath, handle=handle).handle
    with _telemetry().subsegment(signals.USER_SUBSEGMENT) as subsegment:
        subsegment.put_annotation("handle", handle)
        subsegment.put_metadata("username", handle)
        subsegment.put_metadata("timestamp", _now())
        inject()
        found = _store().user(handle)
        activities = [] if found is None else _store().activities_of(found)
        if found is not None:
            subsegment.put_annotation("activity_count", len(activities))
    if found is None:
        # Not inside: the X-Ray SDK calls whatever leaves a subsegment as an exception a fault, and this is the caller's error.
        raise _no_user(handle)
    return jsonify(user=found, profile=_profiles().profile(handle), activities=activities)


@api.get("/api/activities/search")
def search() -> Response:
    term = query(bodies.SearchQuery).term
    inject()
    return jsonify(_store().search(term))


@api.post("/api/activities")
def create_activity() -> Response:
    new = body(bodies.CreateActivity)
    inject()
    return _created(_store().create_activity(_user(new.user_handle), new.message, None if new.ttl is None else bodies.LIFETIMES[new.ttl]))


@api.post("/api/activities/<string:activity_uuid>/reply")
def reply(activity_uuid: str) -> Response:
    activity_uuid = value(bodies.ActivityPath, activity_uuid=activity_uuid).activity_uuid
    new = body(bodies.Reply)
    inject()
    user = _user(new.user_handle)
    if not _store().has_activity(activity_uuid):
        raise ApiError(404, "not_found", f"there is no activity {activity_uuid}")
    return _created(_store().create_activity(user, new.message, None, reply_to=activity_uuid))


@api.get("/api/message_groups")
def message_groups() -> Response:
    handle = query(bodies.UserQuery).user_handle
    inject()
    return jsonify(_store().message_groups(_user(handle)))


@api.get("/api/messages/@<string:handle>")
def messages(handle: str) -> Response:
    handle = value(bodies.HandlePath, handle=handle).handle
    own = query(bodies.UserQuery).user_handle
    inject()
    user, other = _user(own), _user(handle)
    found = _store().messages_between(user, other)
    return jsonify(user=other, profile=_profiles().profile(handle), messages=found)


@api.post("/api/messages")
def create_message() -> Response:
    new = body(bodies.CreateMessage)
    sender, receiver = _user(new.user_sender_handle), _user(new.user_receiver_handle)
    with _telemetry().span(signals.HOME_TRACER, signals.CREATE_MESSAGE_SPAN) as span:
        span.set_attribute("user.id", sender["uuid"])
        span.set_attribute("message.length", len(new.message))
        span.set_attribute("message.text", new.message)
        inject()
        created: dict[str, Any] = _store().create_message(sender, receiver, new.message)
        span.set_attribute("app.created_at", created["created_at"])
    _telemetry().count(signals.MESSAGES_CREATED, "{message}", "Direct messages stored.")
    return _created(created)


@api.get("/rollbar/test")
def rollbar_test() -> Response:
    inject()
    _telemetry().report_message("Hello World!", "warning")
    return Response("Hello World!", mimetype="text/plain")
