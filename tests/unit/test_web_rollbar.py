"""Rollbar's pages on a real local Rollbar: what was sent is shown, what means ill stays text, what cannot be asked says why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from services.compare.web.vendors.rollbar.shapes import FRAMES, occurrence
from tests.api.servers import Vendor, start_vendor
from tests.ports import free_port
from tests.unit.web_client import said, web

TRACE = "695b8f00" + "0" * 23 + "1"
HOSTILE = "<script data-hostile>alert(1)</script>\x07\u202eevil"


@pytest.fixture(scope="module")
def rollbar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("rollbar", tmp_path_factory.mktemp("rollbar")) as vendor:
        for _ in range(2):
            send(vendor, title="broken", level="error", custom={"trace_id": TRACE, "run": "20260105-080000-ab12", "answer": 42})
        send(vendor, title=HOSTILE, level="warning", environment=HOSTILE, custom={HOSTILE: HOSTILE, "big": "M" * 300_000})
        deploy = {"environment": "demo", "revision": "0ddba11", "comment": HOSTILE}
        requests.post(f"{vendor.url}/api/1/deploy", json=deploy, headers=_headers(vendor.settings.rollbar_access_token), timeout=30)
        yield vendor


@pytest.fixture(scope="module")
def client(rollbar: Vendor, tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    return web(tmp_path_factory.mktemp("state"), rollbar_port=rollbar.port)


def _headers(token: Any) -> dict[str, str]:
    return {"X-Rollbar-Access-Token": token.get_secret_value()}


def send(vendor: Vendor, title: str, **data: Any) -> None:
    frames = [
        {"filename": "/venv/site-packages/flask/app.py", "lineno": 1511, "method": "wsgi_app", "code": "response = dispatch()"},
        {"filename": "/app/cruddur/routes.py", "lineno": 7, "method": "home", "code": f"fail('{title}')", "locals": {"who": title}},
    ]
    body = {"trace": {"frames": frames, "exception": {"class": "InjectedFault", "message": title}}}
    document = {"data": {"environment": "demo", "framework": "flask", "title": title, "body": body, "server": {"root": "/app"}, **data}}
    answer = requests.post(f"{vendor.url}/api/1/item/", json=document, headers=_headers(vendor.settings.rollbar_access_token), timeout=30)
    assert answer.status_code == 200, answer.text


def ids(vendor: Vendor, path: str, name: str) -> list[dict[str, Any]]:
    answer = requests.get(f"{vendor.url}/api/1/{path}", headers=_headers(vendor.settings.rollbar_read_token), timeout=30).json()
    found: list[dict[str, Any]] = answer["result"][name]
    return found


def test_items_are_listed_and_filtered(client: FlaskClient) -> None:
    page = said(client, "/vendors/rollbar")
    assert "2 items" in page
    assert "broken" in page
    filtered = said(client, "/vendors/rollbar?status=active&level=error&environment=demo&framework=flask&query=broken")
    assert "1 item " in filtered
    assert "No item matches." in said(client, "/vendors/rollbar?query=nothing-like-it")


def test_a_filter_that_rollbar_refuses_is_told_in_its_words(client: FlaskClient) -> None:
    assert "422 (level does not know loud; choose from" in said(client, "/vendors/rollbar?level=loud")


def test_an_item_has_its_occurrences_and_when_they_were(rollbar: Vendor, client: FlaskClient) -> None:
    item = next(item for item in ids(rollbar, "items", "items") if item["title"] == "broken")
    page = said(client, f"/vendors/rollbar/items/{item['id']}")
    assert "2 occurrences" in page
    assert "Occurrences in the last 24 hours, by hour" in page
    assert TRACE in page
    assert client.get(f"/vendors/rollbar/items/{item['id']}/raw").json == item


def test_an_occurrence_is_found_by_the_uuid_that_its_sender_gave_it_and_leads_to_its_item(rollbar: Vendor, client: FlaskClient) -> None:
    """As a request's pane links to it: the record has the uuid, not Rollbar's own number."""
    for instance in ids(rollbar, "instances", "instances"):
        found = client.get(f"/vendors/rollbar/occurrences/uuid/{instance['data']['uuid']}")
        assert found.headers["Location"] == f"/vendors/rollbar/occurrences/{instance['id']}"
        page = client.get(found.headers["Location"]).text
        assert f'<a href="/vendors/rollbar/items/{instance["item_id"]}">item {instance["item_id"]}</a>, with all of its occurrences' in page
        assert f"/vendors/rollbar/occurrences/{instance['id']}" in client.get(f"/vendors/rollbar/items/{instance['item_id']}").text
    nobody = client.get(f"/vendors/rollbar/occurrences/uuid/{'0' * 32}")
    assert nobody.status_code == 404
    assert "UUID did not match any occurrence" in nobody.text
    down = web(rollbar.settings.state_dir / "down", rollbar_port=free_port())
    assert "Rollbar" in said(down, f"/vendors/rollbar/occurrences/uuid/{'0' * 32}")
    for nothing in ("<b>", "%E2%80%AE", "x" * 129):
        assert client.get(f"/vendors/rollbar/occurrences/uuid/{nothing}").status_code == 404


def test_an_occurrence_has_its_stack_its_values_and_its_record(rollbar: Vendor, client: FlaskClient) -> None:
    instance = next(each for each in ids(rollbar, "instances", "instances") if each["data"]["title"] == "broken")
    page = said(client, f"/vendors/rollbar/occurrences/{instance['id']}")
    assert "InjectedFault : broken" in page
    assert "/app/cruddur/routes.py , line 7 , in home (the application's own) fail('broken') 1 value who broken" in page
    assert "answer 42" in page
    assert client.get(f"/vendors/rollbar/occurrences/{instance['id']}/raw").json == instance
    assert "/vendors/rollbar/items/" in client.get(f"/vendors/rollbar/occurrences/{instance['id']}").text


def test_reports_and_deploys(client: FlaskClient) -> None:
    page = said(client, "/vendors/rollbar/reports?by=hour")
    assert "Occurrences of level error and critical, by hour" in page
    assert "broken" in page
    assert "0ddba11" in said(client, "/vendors/rollbar/deploys")


def test_what_means_ill_stays_text(rollbar: Vendor, client: FlaskClient) -> None:
    instance = next(each for each in ids(rollbar, "instances", "instances") if each["data"]["title"] != "broken")
    for address in (
        "/vendors/rollbar",
        "/vendors/rollbar/occurrences",
        "/vendors/rollbar/reports",
        "/vendors/rollbar/deploys",
        f"/vendors/rollbar/items/{instance['item_id']}",
        f"/vendors/rollbar/occurrences/{instance['id']}",
    ):
        text = client.get(address).text
        assert "<script data-hostile" not in text, address
        assert not set(text) & {"\x07", "\u202e"}, address
        assert len(text) < 200_000, f"{address}: 300,000 characters were not cut"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("items/1", 404),
        ("items/99999999999999999999", 404),
        ("occurrences/1", 404),
        ("occurrences/1/raw", 404),
        ("occurrences?page=x", 404),
        ("?page=0", 404),
        ("?page=99999999999", 404),
        ("reports?by=year", 400),
        ("reports?hours=2", 400),
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(client: FlaskClient, path: str, status: int) -> None:
    assert "All runs" in said(client, f"/vendors/rollbar{path if path.startswith('?') else '/' + path}", status)


@pytest.mark.parametrize("path", ["", "/occurrences", "/items/1", "/occurrences/1", "/reports", "/deploys"])
def test_a_rollbar_that_is_down_is_told_and_the_page_is_there(tmp_path: Path, path: str) -> None:
    page = said(web(tmp_path), f"/vendors/rollbar{path}")
    assert "Rollbar does not answer at http://127.0.0.1:" in page
    assert "Next: `make status` shows what runs" in page


def test_a_key_that_may_not_read_is_told(rollbar: Vendor, tmp_path: Path) -> None:
    client = web(tmp_path, rollbar_port=rollbar.port, rollbar_read_token="x" * 32)
    assert "Rollbar refuses the key (401: invalid access token) Next: set ROLLBAR_READ_TOKEN" in said(client, "/vendors/rollbar")
    assert "Rollbar refuses the key" in said(client, "/vendors/rollbar/items/1/raw", 502)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(None, id="nothing"),
        pytest.param({"body": {"trace": 7}, "custom": [], "level": {}}, id="wrong types"),
        pytest.param({"body": {"trace_chain": [None, {"frames": {}}]}, "server": "x"}, id="wrong chain"),
        pytest.param({"body": {"trace": {"frames": [1, {"lineno": [], "locals": 3, "args": {}}]}}}, id="wrong frames"),
        pytest.param({"body": {"message": {"body": 12}}}, id="message"),
    ],
)
def test_a_payload_of_any_form_has_a_shape(data: Any) -> None:
    assert occurrence({"id": 1, "item_id": 2, "timestamp": "never", "data": data}).title


def test_of_a_deep_stack_the_frames_next_to_the_failure_are_shown() -> None:
    frames = [{"method": str(number)} for number in range(FRAMES + 5)]
    (trace,) = occurrence({"data": {"body": {"trace": {"frames": frames}}}}).traces
    assert (trace.left_out, trace.frames[0].method, trace.frames[-1].method) == (5, "5", str(FRAMES + 4))
