"""pyrollbar, Rollbar's own SDK, against the local Rollbar: every handler, the Flask integration, and its failsafe."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from compose.settings import ROOT
from tests.api.servers import Vendor, start_vendor

#: Run in a process of its own: pyrollbar is configured once a process, for good.
PRELUDE = """
import logging, sys, threading
import rollbar
logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
endpoint, token, read_token, handler = sys.argv[1:5]
def init(**more):
    rollbar.init(token, environment="test", endpoint=endpoint, handler=handler, **more)
"""


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("rollbar", tmp_path_factory.mktemp("rollbar")) as started:
        yield started


def run(vendor: Vendor, script: str, handler: str = "blocking") -> subprocess.CompletedProcess[str]:
    tokens = [vendor.settings.rollbar_access_token.get_secret_value(), vendor.settings.rollbar_read_token.get_secret_value()]
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script, f"{vendor.url}/api/1/", *tokens, handler],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def instances(vendor: Vendor) -> list[dict[str, Any]]:
    headers = {"X-Rollbar-Access-Token": vendor.settings.rollbar_read_token.get_secret_value()}
    answer = requests.get(f"{vendor.url}/api/1/instances?limit=100", headers=headers, timeout=30)
    return list(answer.json()["result"]["instances"])


def with_custom(vendor: Vendor, mark: str) -> list[dict[str, Any]]:
    return [each["data"] for each in instances(vendor) if (each["data"].get("custom") or {}).get("mark") == mark]


@pytest.mark.parametrize("handler", ["blocking", "thread", "thread_pool"])
def test_exceptions_and_messages_arrive(vendor: Vendor, handler: str) -> None:
    mark = f"handler {handler}"
    done = run(
        vendor,
        f"""
init()
def fail(password):
    local = {{"huge": 2 ** 100, "nan": float("nan"), "text": "\\ud800 \\u2603"}}
    raise ZeroDivisionError("on purpose")
try:
    fail("hunter2")
except ZeroDivisionError:
    rollbar.report_exc_info(extra_data={{"mark": {mark!r}}})
rollbar.report_message("Hello World!", "warning", extra_data={{"mark": {mark!r}}})
rollbar.wait()
""",
        handler,
    )
    assert "Rollbar" not in done.stderr, done.stderr
    found = {next(iter(data["body"].keys() & {"trace", "message"})): data for data in with_custom(vendor, mark)}
    assert set(found) == {"trace", "message"}
    assert found["trace"]["body"]["trace"]["exception"]["class"] == "ZeroDivisionError"
    assert found["trace"]["body"]["trace"]["frames"][-1]["method"] == "fail"
    assert found["trace"]["level"] == "error"
    assert found["trace"]["notifier"]["name"] == "pyrollbar"
    assert (found["message"]["level"], found["message"]["body"]["message"]["body"]) == ("warning", "Hello World!")
    assert "hunter2" not in str(found)


def test_the_flask_integration_reports_an_exception_with_its_request(vendor: Vendor) -> None:
    run(
        vendor,
        """
import flask, rollbar.contrib.flask
app = flask.Flask(__name__)
rollbar.contrib.flask.init(app, token, environment="test", endpoint=endpoint, handler=handler)
def mark(payload, **kw):
    payload["data"]["custom"] = {"mark": "flask", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}
    return payload
rollbar.events.add_payload_handler(mark)
@app.get("/boom/<name>")
def boom(name):
    raise RuntimeError(name)
assert app.test_client().get("/boom/one?q=1").status_code == 500
assert app.test_client().get("/boom/two").status_code == 500
rollbar.wait()
""",
        "thread",
    )
    first, second = sorted(with_custom(vendor, "flask"), key=lambda data: data["request"]["url"])
    assert first["request"]["url"].endswith("/boom/one?q=1")
    assert first["request"]["method"] == "GET"
    assert first["framework"] == "flask"
    assert first["custom"]["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    items = {each["item_id"] for each in instances(vendor) if each["data"].get("framework") == "flask"}
    assert len(items) == 1, "the same exception in the same place is one item"
    assert second["body"]["trace"]["exception"]["message"] == "two"


def test_too_large_a_payload_is_answered_by_one_failsafe_item(vendor: Vendor) -> None:
    """pyrollbar answers a 413 with a small item on the same path, and would loop if that were refused too."""
    before = len(instances(vendor))
    done = run(
        vendor,
        """
init()
sent = []
def grow(payload, **kw):
    if not sent:
        payload["data"]["uuid"] = "0123456789abcdef0123456789abcdef"
        payload["data"]["custom"] = {"big": "x" * (2 * 1024 * 1024)}
    sent.append(payload)
    return payload
rollbar.events.add_payload_handler(grow)
rollbar.report_message("too much")
""",
    )
    assert "request entity too large" in done.stderr
    after = instances(vendor)
    assert len(after) == before + 1
    assert after[0]["data"]["failsafe"] is True
    assert after[0]["data"]["custom"]["orig_uuid"] == "0123456789abcdef0123456789abcdef"


def test_a_wrong_token_is_said_by_the_sdk_and_nothing_is_stored(vendor: Vendor) -> None:
    before = len(instances(vendor))
    done = run(vendor, "token = 'wrong'\ninit()\nrollbar.report_message('lost')\n")
    assert "401" in done.stderr
    assert len(instances(vendor)) == before


def test_a_dead_rollbar_costs_the_application_an_item_and_nothing_else(vendor: Vendor, tmp_path: Path) -> None:
    with start_vendor("rollbar", tmp_path) as other:
        other.kill()
        done = run(other, "init(timeout=2)\nrollbar.report_message('lost')\nrollbar.wait()\nprint('still here')\n", "thread")
        assert "still here" in done.stdout
