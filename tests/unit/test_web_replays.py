"""A replay on the pages: links from a run to its replays and back, how far one is, what may be said of one that is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from compose.settings import Settings
from loadtest.runs import MANIFEST, Run, make_run, open_run
from services.compare.replay import progress
from services.compare.replay.progress import FILE, Progress, read
from services.compare.web.app import create_app
from tests import compared_runs
from tests.api.servers import hermetic_settings

OLD, NEW, LONE = "20260105-080000-0001", "20260105-090000-0002", "20260105-093000-0003"
PLANNED = {"traces": 1_200, "logs": 300, "metrics": 10}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return hermetic_settings(state_dir=tmp_path, backends="")


@pytest.fixture
def client(settings: Settings) -> FlaskClient:
    compared_runs.make_run(settings, 3, run=OLD)
    return create_app(settings).test_client()


@pytest.fixture
def replay(settings: Settings, client: FlaskClient) -> Iterator[Run]:
    """One that goes on, made by this process."""
    old = open_run(settings.runs_dir / OLD)
    run = make_run(settings, old.manifest.model_copy(update={"run": NEW, "replay_of": OLD, "finished": None, "ended": None}))
    yield run
    if run.folder.exists():
        run.complete()  # Nobody has its lock any more.


def text(client: FlaskClient, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    return " ".join(answer.text.split())


def test_progress_is_there_as_long_as_the_replay_and_says_signal_by_signal_how_far_it_is(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    said = Progress(tmp_path, {"traces": 10, "logs": 2})
    found = read(tmp_path)
    assert found is not None
    assert (found.sent, found.planned, found.waiting) == (0, 12, None)
    said.say(sent={"traces": 10, "logs": 2})
    found = read(tmp_path)
    assert found is not None
    assert [(each.items, each.sent, each.planned) for each in found.signals] == [
        ("spans", 10, 10),
        ("log records", 2, 2),
        ("data points", 0, 0),
    ]
    said.say(waiting=7)
    found = read(tmp_path)
    assert found is not None
    assert (found.sent, found.waiting) == (12, 7)
    said.done()
    said.done()
    assert read(tmp_path) is None


def test_a_word_a_quarter_of_a_second_is_enough_for_who_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PAUSE", 3600.0)
    said = Progress(tmp_path, {"traces": 10})
    assert getattr(read(tmp_path), "sent", None) == 0
    for sent in range(1, 10):
        said.say(sent={"traces": sent})
    assert getattr(read(tmp_path), "sent", None) == 1, "the first items are said at once: at a low rate the next ones take long"
    said.say(sent={"traces": 10})
    assert getattr(read(tmp_path), "sent", None) == 10, "the last word is always said"


@pytest.mark.parametrize("said", ["", "[]", "{}", "null", '{"planned": [], "sent": {}, "waiting": 1}', '{"planned": {"traces": "x"}}'])
def test_a_file_that_is_none_says_nothing(client: FlaskClient, replay: Run, said: str) -> None:
    (replay.folder / FILE).write_text(said)
    assert "Nothing says how far it is" in text(client, f"/runs/{NEW}/live")
    assert NEW in text(client, "/")


def test_a_replay_that_goes_on_is_shown_as_one_and_only_a_replay_can_be_stopped(client: FlaskClient, replay: Run) -> None:
    (replay.folder / FILE).write_text(json.dumps({"planned": PLANNED, "sent": {"traces": 400}, "waiting": None}))
    page = text(client, f"/runs/{NEW}/live")
    assert "400 of 1,510 recorded items are sent again" in page
    assert '<progress max="1510" value="400"' in page
    assert f'replay of <a href="/runs/{OLD}">{OLD}</a>' in page
    assert "Requests a second" not in page, "nobody is asked anything"
    # This process makes the run, and is neither a load nor a replay.
    assert "Stop the" not in page
    assert client.post(f"/runs/{NEW}/stop").status_code == 409
    card = text(client, "/loads/running")
    assert f"replay of {OLD}" in card
    assert "400 of 1,510 recorded items sent" in card
    (replay.folder / FILE).write_text(json.dumps({"planned": PLANNED, "sent": PLANNED, "waiting": 12}))
    assert "the Collector still holds 12" in text(client, f"/runs/{NEW}/live/now?state=running&of={OLD}")


def test_a_run_leads_to_its_replays_and_each_of_them_back(client: FlaskClient, replay: Run, settings: Settings) -> None:
    assert f'replayed as <a href="/runs/{NEW}/live">{NEW}</a> (goes on)' in text(client, f"/runs/{OLD}")
    replay.complete()
    done = text(client, f"/runs/{OLD}")
    assert f'replayed as <a href="/runs/{NEW}">{NEW}</a></span>' in done
    back = text(client, f"/runs/{NEW}")
    assert f'replay of <a href="/runs/{OLD}">{OLD}</a> (<a href="/runs/{NEW}/with/{OLD}">against it</a>)' in back
    assert "replayed as" not in back
    assert f'replay of <a href="/runs/{OLD}">{OLD}</a>' in text(client, "/")
    lone = make_run(
        settings, replay.manifest.model_copy(update={"run": LONE, "replay_of": "20200101-000000-0000", "finished": 0, "ended": 1.0})
    )
    assert "replay of 20200101-000000-0000" in text(client, f"/runs/{lone.id}"), "no link to a run that is not here"
    assert 'href="/runs/20200101' not in text(client, "/") + text(client, f"/runs/{lone.id}")


def test_a_replay_that_has_taken_its_run_back_leads_to_what_it_was_of(client: FlaskClient, replay: Run) -> None:
    (replay.folder / MANIFEST).unlink()
    gone = f"/runs/{OLD}?taken_back={NEW}"
    assert client.get(f"/runs/{NEW}/live?of={OLD}").headers["Location"] == gone
    moved = client.get(f"/runs/{NEW}/live/now?state=running&of={OLD}")
    assert (moved.status_code, moved.headers["HX-Redirect"]) == (200, gone)
    twice = client.post(f"/runs/{NEW}/stop?of={OLD}")
    assert (twice.status_code, twice.headers["Location"]) == (303, gone), "the second click of two"
    assert f"The replay {NEW} was stopped, or failed, and has taken its run back." in text(client, gone)
    for nowhere in ("", f"?of={NEW}", "?of=../../x", "?of=http://evil.example/"):
        assert client.get(f"/runs/{NEW}/live{nowhere}").status_code == 404
        assert client.get(f"/runs/{NEW}/live/now{nowhere}").status_code == 404
        assert client.post(f"/runs/{NEW}/stop{nowhere}").status_code == 404
    for said in (OLD, "<b>buy this</b>", "20260105-080000-0001x"):
        assert "has taken its run back" not in client.get(f"/runs/{OLD}", query_string={"taken_back": said}).text
