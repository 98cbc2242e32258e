"""An imported run on the pages: they say whose it is, ask no vendor for it, and vendors' pages that are asked for it lead back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from loadtest.runs import IMPORTED, Run
from services.compare.export import documents
from services.compare.export.forms import Kept
from services.compare.record import Record
from services.compare.web.app import create_app
from services.compare.web.imported import imported
from tests.api.servers import hermetic_settings
from tests.compared_runs import make_run
from tests.ports import free_ports

HERE, ELSEWHERE = "20260105-080000-0001", "20260105-090000-0002"
HOSTILE = "<b data-hostile>\u202e.zip"


@pytest.fixture
def client(tmp_path: Path) -> FlaskClient:
    """A page whose vendors nobody listens for."""
    aws, honeycomb, rollbar = (f"http://127.0.0.1:{port}" for port in free_ports(3))
    settings = hermetic_settings(
        state_dir=tmp_path, xray_endpoint=aws, logs_endpoint=aws, honeycomb_endpoint=honeycomb, rollbar_endpoint=rollbar
    )
    for run in (HERE, ELSEWHERE):
        make_run(settings, 3, run=run)
    return create_app(settings).test_client()


@pytest.fixture
def run(client: FlaskClient) -> Run:
    """The imported one."""
    site = client.application.extensions["parallax"]
    run: Run = site.run(ELSEWHERE)
    (run.folder / IMPORTED).write_text(json.dumps({"file": HOSTILE, "at": 1767610000.0, "exported": 1767609000.5}))
    kept = {path: Kept(count=10, reason=None if path != "rollbar/sdk" else HOSTILE) for path in run.manifest.paths}
    documents.keep_states(run.folder / Record.open(run.folder).document["folder"], kept)
    return run


def text(client: FlaskClient, address: str, status: int = 200) -> str:
    answer = client.get(address)
    assert answer.status_code == status, answer.text
    assert "<b data-hostile" not in answer.text
    assert "\u202e" not in answer.text
    return answer.text


@pytest.mark.parametrize("below", ["", "/requests", "/attributes", "/strays", "/cost", "/with"])
def test_every_page_of_it_says_where_it_comes_from_and_what_came_along(client: FlaskClient, run: Run, below: str) -> None:
    page = text(client, f"/runs/{ELSEWHERE}{below}")
    assert "Its backends are elsewhere" in page
    assert "2026-01-05 10:46:40" in page
    assert "60 raw documents; not all of rollbar/sdk (" in page
    assert "Its backends are elsewhere" not in text(client, f"/runs/{HERE}{below}")
    assert "<span>imported</span>" in text(client, "/")


def test_one_of_its_requests_says_so_and_leads_to_no_vendor(client: FlaskClient, run: Run) -> None:
    trace = run.entries()[0].trace_id
    page = text(client, f"/runs/{ELSEWHERE}/requests/{trace}")
    assert "Its backends are elsewhere" in page
    assert trace not in "".join(part for part in page.split('href="') if part.startswith("/vendors/"))


def test_a_vendors_page_that_is_asked_for_it_leads_back_to_what_came_along(client: FlaskClient, run: Run) -> None:
    trace, ours = run.entries()[0].trace_id, "695b8f00" + "0" * 24
    back = f'<a href="/runs/{ELSEWHERE}">'
    for address in (f"/vendors/xray/traces?range={ELSEWHERE}", f"/vendors/xray/traces/{trace}", f"/vendors/honeycomb/trace?trace={trace}"):
        assert back in client.get(address).text, address
    for address in (f"/vendors/xray/traces?range={HERE}", f"/vendors/xray/traces/{ours}", "/vendors/rollbar", "/"):
        assert "those that this page asks have nothing of it" not in client.get(address).text, address
    offered = text(client, "/vendors/cloudwatch/search")
    assert f'<option value="{HERE}"' in offered
    assert f'<option value="{ELSEWHERE}"' not in offered, "the time of a run that the vendors here never saw"


def test_no_vendor_is_asked_to_follow_or_compare_it(client: FlaskClient, run: Run) -> None:
    assert client.get(f"/runs/{ELSEWHERE}/live").headers["Location"] == f"/runs/{ELSEWHERE}"
    page = text(client, f"/runs/{ELSEWHERE}/compare")
    assert "never compared here" in page
    assert "<button" not in page
    answer = client.post(f"/runs/{ELSEWHERE}/compare", headers={"Origin": "http://localhost"})
    assert answer.status_code == 409
    assert "was imported" in answer.text


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"file": 5, "at": "x", "exported": true}', '{"at": 1e300}', '{"at": NaN}'])
def test_whatever_stands_in_the_file_that_marks_it_is_no_error(client: FlaskClient, run: Run, said: str) -> None:
    (run.folder / IMPORTED).write_text(said)
    assert "Its backends are elsewhere" in text(client, f"/runs/{ELSEWHERE}")
    with client.application.test_request_context():
        assert imported("../x") is None
