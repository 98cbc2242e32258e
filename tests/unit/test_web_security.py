"""Who may ask the page, and that no answer of any kind lets a page do more than it must."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from compose.settings import Settings
from services.compare.web import security
from services.compare.web.app import create_app
from tests import compared_runs
from tests.api.servers import hermetic_settings

SECRETS = (
    "honeycomb_api_key",
    "honeycomb_query_key",
    "rollbar_access_token",
    "rollbar_read_token",
    "aws_secret_access_key",
    "aws_session_token",
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    secrets = {name: f"hush-{name}" for name in SECRETS}
    return hermetic_settings(
        state_dir=tmp_path_factory.mktemp("state"), aws_access_key_id="AKIAHUSH", database_url="postgresql://u:hush@db/x", **secrets
    )


@pytest.fixture(scope="module")
def app(settings: Settings) -> Flask:
    compared_runs.make_run(settings, 10)
    return create_app(settings)


class Client(FlaskClient):
    """Takes each answer whole: the file of a static one is open until then."""

    def open(self, *arguments: Any, **more: Any) -> Any:
        return super().open(*arguments, buffered=True, **more)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    app.test_client_class = Client
    return app.test_client()


def policy(answer: Any) -> dict[str, str]:
    """The Content-Security-Policy, by directive."""
    parts = answer.headers["Content-Security-Policy"].split("; ")
    return {part.split(" ", 1)[0]: part.partition(" ")[2] for part in parts}


# -- every answer

ANSWERS = {
    "page": ("GET", "/", {}, 200),
    "run": ("GET", f"/runs/{compared_runs.RUN}", {}, 200),
    "fragment": ("GET", "/loads/running", {}, 200),
    "health": ("GET", "/healthz", {}, 200),
    "static": ("GET", "/static/css/tokens.css", {}, 200),
    "static-unchanged": ("GET", "/static/icon.svg", {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 304),
    "static-unknown": ("GET", "/static/nothing.js", {}, 404),
    "outside-of-static": ("GET", "/static/../app.py", {}, 404),
    "redirect": ("POST", f"/runs/{compared_runs.RUN}/stop", {}, 303),
    "no-such-page": ("GET", "/nothing", {}, 404),
    "no-such-run": ("GET", "/runs/20200101-000000-0000", {}, 404),
    "no-such-method": ("DELETE", "/", {}, 405),
    "bad-filter": ("GET", "/?page=x", {}, 404),
    "bad-form": ("POST", "/loads", {}, 400),
    "foreign-origin": ("POST", "/loads", {"Origin": "http://evil.example"}, 403),
    "foreign-host": ("GET", "/", {"Host": "evil.example"}, 400),
    "options": ("OPTIONS", "/loads", {}, 200),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_every_kind_of_answer_has_the_policy(client: FlaskClient, kind: str) -> None:
    method, path, headers, status = ANSWERS[kind]
    answer = client.open(path, method=method, headers={"Host": "127.0.0.1:4580"} | headers)
    assert answer.status_code == status
    found = policy(answer)
    assert found["default-src"] == "'none'"
    assert found["script-src"] == found["style-src"] == found["connect-src"] == found["form-action"] == "'self'"
    assert found["frame-ancestors"] == found["base-uri"] == "'none'"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"]
    # Nobody else's page may read it.
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Set-Cookie" not in answer.headers


def test_a_page_that_fails_has_the_policy_and_says_nothing_of_what_it_knew(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(settings)

    @app.get("/fails")
    def fails() -> str:
        raise RuntimeError(settings.rollbar_read_token.get_secret_value())

    with caplog.at_level(logging.ERROR):
        answer = app.test_client().get("/fails")
    assert answer.status_code == 500
    assert policy(answer)["default-src"] == "'none'"
    assert "RuntimeError" in answer.text
    assert "hush" not in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/loads/new", "/loads/running", f"/runs/{compared_runs.RUN}", "/nothing", "/static/js/page.js"]
)
def test_no_answer_holds_a_secret(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    whole = answer.text + str(answer.headers)
    assert "hush" not in whole.lower()


# -- Host


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:4580", True),
        ("localhost:4580", True),
        ("LOCALHOST:4580", True),
        ("[::1]:4580", True),
        ("127.0.0.1", True),
        ("evil.example", False),
        ("evil.example:4580", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:4580", False),
        ("127.0.0.1:4580@evil.example", False),
        ("127.0.0.1:4580 evil.example", False),
        ("2130706433", False),
        ("0.0.0.0:4580", False),
    ],
)
@pytest.mark.parametrize("path", ["/", "/healthz", "/static/css/tokens.css", "/nothing"])
def test_only_names_of_this_machine_are_answered(client: FlaskClient, path: str, host: str, allowed: bool) -> None:
    answer = client.get(path, headers={"Host": host})
    assert (answer.status_code == 400) is not allowed
    if not allowed:
        assert "COMPARE_HOSTS" in answer.text
        assert "<" not in answer.text, "a page would have links under that name"


@pytest.mark.parametrize(
    ("bind", "more", "names"),
    [
        ("127.0.0.1", (), ["localhost", "127.0.0.1", "[::1]"]),
        ("0.0.0.0", ("box.lan",), ["localhost", "127.0.0.1", "[::1]", "box.lan"]),
        ("::", (), ["localhost", "127.0.0.1", "[::1]"]),
        ("192.0.2.7", (), ["localhost", "127.0.0.1", "[::1]", "192.0.2.7"]),
        ("2001:db8::7", (), ["localhost", "127.0.0.1", "[::1]", "[2001:db8::7]"]),
        ("box", (), ["localhost", "127.0.0.1", "[::1]", "box"]),
    ],
    ids=["loopback", "all", "all-v6", "address", "address-v6", "name"],
)
def test_the_names_follow_from_where_it_listens_and_from_the_setting(bind: str, more: tuple[str, ...], names: list[str]) -> None:
    assert security.trusted_hosts(hermetic_settings(bind_host=bind, compare_hosts=more)) == names


# -- Origin

OWN = "http://127.0.0.1:4580"


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),  # no browser
        ({"Origin": OWN, "Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": OWN}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "http://localhost:4580", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": "http://127.0.0.1:4581", "Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "http://127.0.0.1"}, False),
        ({"Origin": "https://127.0.0.1:4580"}, False),
        ({"Origin": f"{OWN}.evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": OWN, "Sec-Fetch-Site": "cross-site"}, False),
    ],
    ids=[
        *(
            "no-browser",
            "own",
            "own-old-browser",
            "typed",
            "other-name",
            "other-port",
            "no-port",
            "other-scheme",
            "longer",
            "null",
            "empty",
        ),
        *("cross-site", "contradiction"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_only_its_own_pages_may_ask_for_a_change(client: FlaskClient, method: str, headers: dict[str, str], allowed: bool) -> None:
    answer = client.open("/loads", method=method, headers={"Host": "127.0.0.1:4580"} | headers)
    # What is allowed here is then a form without a field, or a method that nothing takes.
    assert answer.status_code == (403 if not allowed else 400 if method == "POST" else 405)


def test_reading_needs_no_origin(client: FlaskClient) -> None:
    """A link from elsewhere leads here; what it shows, the other page cannot read."""
    assert client.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_a_body_that_no_form_has_is_refused(client: FlaskClient) -> None:
    answer = client.post("/loads", data={"profile": "x" * 2_000_000})
    assert answer.status_code == 413
    assert policy(answer)["default-src"] == "'none'"


def test_what_is_served_over_a_wire_says_nothing_of_its_maker(settings: Settings) -> None:
    """The same over a real connection, also for a request without a Host (HTTP/1.0)."""
    server = make_server("127.0.0.1", 0, create_app(settings))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        answer = requests.get(f"http://127.0.0.1:{server.server_port}/healthz", timeout=10)
        assert answer.text == "parallax\n"
        assert policy(answer)["default-src"] == "'none'"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
