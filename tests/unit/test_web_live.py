"""Loads and compares on the page: how one does, starting and stopping it, and that nobody else's page can."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from flask.testing import FlaskClient

from compose import held
from compose.settings import ROOT, Settings, SignalPath
from loadtest.ledger import LedgerEntry, LedgerWriter
from loadtest.profiles import PROFILES
from loadtest.runs import LOADER, Run, going_on, load_run, make_run, runs
from loadtest.summary import percentile
from services.compare import underway
from services.compare.pulse import POINTS, Pulse
from services.compare.visible import Seconds
from services.compare.web import sparkline
from services.compare.web.app import create_app
from tests import compared_runs
from tests.api.servers import hermetic_settings
from tests.ports import free_port
from tests.waiting import until

BOUND = 60
FORM = {"profile": "smoke", "requests": "", "users": "", "seed": "1", "sampling": "all"}
EVIL = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """No backend: these tests are of the page. Nobody listens at the target."""
    return hermetic_settings(state_dir=tmp_path, backends="", target_url=f"http://127.0.0.1:{free_port()}", settle=0.1)


@pytest.fixture
def client(settings: Settings) -> FlaskClient:
    return create_app(settings).test_client()


@pytest.fixture
def target() -> Iterator[str]:
    """An application that answers everything with 200."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


# -- the pulse of a run


def entries(count: int, rate: float = 50.0) -> list[LedgerEntry]:
    made = list(compared_runs.planned(compared_runs.RUN, count))
    return [replace(entry, start=1767600000.0 + number / rate) for number, entry in enumerate(made)]


def test_a_pulse_reads_what_was_added_and_says_what_the_summary_says(tmp_path: Path) -> None:
    made = entries(300)
    pulse = Pulse(tmp_path)
    pulse.refresh()
    assert (pulse.finished, pulse.percentile(50), pulse.rate(), pulse.rate(5)) == (0, None, None, None)
    for worker in range(2):
        with LedgerWriter(tmp_path, worker) as ledger:
            for number, entry in enumerate(made[worker::2]):
                ledger.write(entry)
                if number % 40 == 0:
                    pulse.refresh()
    pulse.refresh()
    answered = [entry.duration_ms for entry in made if entry.status is not None]
    assert pulse.finished == len(made)
    assert (pulse.percentile(50), pulse.percentile(99)) == (percentile(answered, 50), percentile(answered, 99))
    assert pulse.statuses == Counter(entry.status for entry in made if entry.status is not None)
    assert pulse.errors == sum(entry.status is None or entry.status >= 500 for entry in made)
    assert pulse.rate(3) == pytest.approx(50, rel=0.2)
    assert sum(interval.finished for _, interval in pulse.course()) == len(made)
    assert pulse.expected[SignalPath.XRAY_SDK].total() == sum(entry.status is not None for entry in made)
    assert 0 < pulse.expected[SignalPath.ROLLBAR_SDK].total() < 60


def test_a_line_that_is_not_whole_waits_for_its_rest_and_one_that_is_none_is_counted(tmp_path: Path) -> None:
    with LedgerWriter(tmp_path, 0) as ledger:
        for entry in entries(3):
            ledger.write(entry)
    path = tmp_path / "ledger-0.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    pulse = Pulse(tmp_path)
    pulse.refresh()
    assert pulse.finished == 2
    with path.open("ab") as file:
        file.write(whole[-20:] + b"not a line\n[1]\n{}\n")
    pulse.refresh()
    assert (pulse.finished, pulse.unreadable) == (3, 3)


def test_the_course_of_a_long_run_has_a_bounded_number_of_intervals(tmp_path: Path) -> None:
    made = entries(1000, rate=1.0)
    with LedgerWriter(tmp_path, 0) as ledger:
        for entry in made:
            ledger.write(entry)
    pulse = Pulse(tmp_path)
    pulse.refresh()
    course = pulse.course()
    assert pulse.width == 8
    assert POINTS / 2 <= len(course) <= POINTS
    assert sum(interval.finished for _, interval in course) == 1000
    assert [later - earlier for (earlier, _), (later, _) in itertools.pairwise(course)] == [8] * (len(course) - 1)


def test_sampling_by_rules_expects_only_what_was_sampled(tmp_path: Path) -> None:
    with LedgerWriter(tmp_path, 0) as ledger:
        for number, entry in enumerate(entries(10)):
            ledger.write(replace(entry, status=200, sampled_xray_sdk=number < 4, sampled_otel=number < 7))
    pulse = Pulse(tmp_path)
    pulse.refresh()
    assert pulse.expected[SignalPath.XRAY_SDK].total() == 4
    assert pulse.expected[SignalPath.XRAY_OTLP].total() == 7
    assert pulse.expected[SignalPath.HONEYCOMB_OTLP].total() == 10, "log records are never sampled"


def test_a_gap_divides_a_line_and_nothing_draws_nothing() -> None:
    assert sparkline.of([]).lines == ()
    assert sparkline.of([None]).lines == ()
    line = sparkline.of([1.0, 2.0, None, 4.0])
    assert (len(line.lines), line.top, line.last) == (2, 4.0, 4.0)
    assert line.lines[0] == "0.0,35.0 100.0,24.0"


# -- what is visible


def test_only_seconds_that_lack_requests_are_asked_for_and_old_ones_ever_less_often() -> None:
    path = SignalPath.XRAY_SDK
    seconds = Seconds(frozenset({path}), pause=1.0)
    now = 1767600100.0
    begin = int(now) - 40
    expected = {path: Counter({begin: 2, begin + 1: 1, begin + 30: 3})}
    assert list(seconds.due(expected, now)) == [(begin, begin + 1), (begin + 30, begin + 30)]
    for trace in (f"{begin:08x}{'0' * 24}", f"{begin:08x}{'1' * 24}", f"{begin + 1:08x}{'0' * 24}", f"{begin + 1:08x}{'2' * 24}"):
        seconds.add(path, trace)
        seconds.add(path, trace)
    for first, last in ((begin, begin + 1), (begin + 30, begin + 30)):
        seconds.looked(first, last, now)
    # One was seen that the ledger has not yet: it counts when it is finished.
    assert seconds.counts(expected, now) == {path: 3}
    assert list(seconds.due(expected, now + 1)) == []
    assert list(seconds.due(expected, now + 3)) == [(begin + 30, begin + 30)], "ten seconds old, so asked again after two and a half"
    # A request of a second that was complete ends later than its neighbours.
    expected[path][begin] = 3
    assert list(seconds.due(expected, now + 3)) == [(begin + 30, begin + 30)]
    assert list(seconds.due(expected, now + 11)) == [(begin, begin), (begin + 30, begin + 30)]


def test_many_requests_are_asked_for_in_several_ranges() -> None:
    path = SignalPath.CLOUDWATCH_OTLP
    expected = {path: Counter(dict.fromkeys(range(1767600000, 1767600010), 200))}
    ranges = list(Seconds(frozenset({path}), 1.0).due(expected, 1767600100.0))
    assert ranges[0] == (1767600000, 1767600002)
    assert [first for first, _ in ranges[1:]] == [last + 1 for _, last in ranges[:-1]]
    assert ranges[-1][1] == 1767600009


def test_a_backend_that_cannot_be_read_says_so_and_the_page_goes_on(tmp_path: Path) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    settings = hermetic_settings(state_dir=tmp_path, honeycomb_endpoint=dead, xray_endpoint=dead, logs_endpoint=dead, rollbar_endpoint=dead)
    run = compared_runs.make_run(settings, 200, compared=False)
    client = create_app(settings).test_client()

    def reasons() -> int:
        return client.get(f"/runs/{run.id}/live/now").text.count("does not answer")

    until(lambda: reasons() == 6, BOUND, "every path to say that its backend does not answer")


# -- the pages of a load


def begun(settings: Settings, count: int = 30) -> Run:
    """A run that this process makes, with a ledger so far."""
    written = compared_runs.make_run(settings, count, compared=False)
    manifest = written.manifest.model_copy(update={"finished": None, "ended": None, "planned": 100})
    shutil.rmtree(written.folder)
    run = make_run(settings, manifest)
    with LedgerWriter(run.folder, 0) as ledger:
        for entry in entries(count):
            ledger.write(entry)
    return run


def test_a_load_that_goes_on_is_shown_and_told_from_one_that_is_over(settings: Settings, client: FlaskClient) -> None:
    run = begun(settings)
    assert f'href="/runs/{run.id}/live"' in client.get("/").text
    page = client.get(f"/runs/{run.id}/live").text
    assert "30 of 100 requests have finished." in page
    assert '<noscript><meta http-equiv="refresh"' in page
    now = client.get(f"/runs/{run.id}/live/now?state=running")
    assert "HX-Refresh" not in now.headers
    assert "hx-get" in now.text
    # This process is no load: there is nothing to stop.
    assert "Stop the load" not in page
    assert client.post(f"/runs/{run.id}/stop").status_code == 409
    assert client.post(f"/runs/{run.id}/compare").status_code == 409
    shown = client.get(f"/loads/running?shown={run.id}")
    assert "HX-Refresh" not in shown.headers
    run.complete()
    assert client.get(f"/loads/running?shown={run.id}").headers["HX-Refresh"] == "true"
    over = client.get(f"/runs/{run.id}/live/now?state=running")
    assert over.headers["HX-Refresh"] == "true", "its buttons differ"
    assert "30 of 100 requests have finished; the load was stopped before its end." in over.text
    assert "hx-get" not in over.text, "nothing more is to come"
    assert "Compare now" in client.get(f"/runs/{run.id}/live").text


def test_a_load_that_was_killed_is_shown_as_killed(settings: Settings, client: FlaskClient) -> None:
    run = begun(settings)
    script = "import sys, pathlib; from compose import held; kept = held.take(pathlib.Path(sys.argv[1])); print(flush=True); input()"
    other = compared_runs.make_run(settings, 10, run="20260105-090000-abcd", compared=False)
    other_manifest = other.manifest.model_copy(update={"finished": None})
    (other.folder / "manifest.json").write_text(other_manifest.model_dump_json())
    with subprocess.Popen(
        [sys.executable, "-c", script, str(other.folder / LOADER)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert [each.id for each in going_on(settings)] == [other.id, run.id]
        process.kill()
        process.wait()
    assert [each.id for each in going_on(settings)] == [run.id]
    page = client.get(f"/runs/{other.id}/live").text
    assert "killed before its end" in page
    assert "Stop the load" not in page
    run.complete()


@pytest.mark.parametrize("below", ["live", "live/now", "compare", "compare/now"])
def test_an_unknown_run_has_no_such_page(client: FlaskClient, below: str) -> None:
    assert client.get(f"/runs/20200101-000000-0000/{below}").status_code == 404


# -- starting one


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("requests", "0", "greater than or equal to 1"),
        ("requests", "many", "valid integer"),
        ("users", "1001", "less than or equal to 1000"),
        ("seed", "-1", "greater than or equal to 0"),
        ("seed", "", "say a number"),
        ("seed", "9" * 5000, "valid integer|exceeded"),
        ("profile", "<b>", "it must be"),
        ("profile", "", "choose one"),
        ("sampling", "some", "it must be"),
    ],
    ids=["none", "no-number", "too-many", "negative", "no-seed", "huge", "markup", "no-profile", "no-sampling"],
)
def test_what_cannot_be_is_said_at_its_field_and_starts_nothing(
    settings: Settings, client: FlaskClient, field: str, value: str, why: str
) -> None:
    answer = client.post("/loads", data=FORM | {field: value})
    assert answer.status_code == 400
    wrong = dict(re.findall(r'id="wrong-(\w+)">(.*?)</span>', answer.text))
    assert list(wrong) == [field]
    assert re.search(why, wrong[field])
    assert f'aria-describedby="wrong-{field} hint-{field}"' in answer.text
    assert "<b>" not in answer.text
    assert runs(settings) == []


def test_an_application_that_is_down_is_said_with_the_next_command(settings: Settings, client: FlaskClient) -> None:
    assert "`make up` starts it" in client.get("/loads/new").text
    answer = client.post("/loads", data=FORM | {"requests": "7"})
    assert answer.status_code == 503
    assert f"the application does not answer at {settings.target_url}" in answer.text
    assert 'value="7"' in answer.text, "what was filled in stays"
    assert runs(settings) == []


def test_the_form_offers_every_profile(client: FlaskClient) -> None:
    page = client.get("/loads/new").text
    assert re.findall(r'<option value="(\w+)"', page) == [*PROFILES, "all", "rules"]


def test_a_load_is_started_one_at_a_time_stopped_in_order_and_compared(settings: Settings, target: str) -> None:
    settings = hermetic_settings(**settings.model_dump() | {"target_url": target})
    client = create_app(settings).test_client()
    begun = client.post("/loads", data=FORM | {"requests": "5000", "users": "5", "seed": "3"})
    assert begun.status_code == 303
    run_id = begun.location.split("/")[2]
    run = load_run(settings, run_id)
    assert (run.manifest.planned, run.manifest.users, run.manifest.seed, run.manifest.target) == (5000, 5, 3, target)
    pid = run.loader
    assert pid is not None
    environment = psutil.Process(pid).environ()
    assert (environment["PARALLAX_STATE_DIR"], environment["PARALLAX_PROCESS"]) == (str(settings.state_dir), "load"), "make down finds it"
    assert environment["ROLLBAR_READ_TOKEN"] == environment["AWS_SECRET_ACCESS_KEY"] == "", "a load needs no key"

    second = client.post("/loads", data=FORM)
    assert second.status_code == 409
    assert f"Run {run_id} goes on" in second.text
    assert client.post(f"/runs/{run_id}/compare").status_code == 409

    def finished() -> int:
        found = re.search(r"([\d,]+) of 5,000 requests", client.get(f"/runs/{run_id}/live/now").text)
        return int(found[1].replace(",", "")) if found else 0

    until(lambda: finished() > 10, BOUND, "requests to be seen on the page")
    assert "Stop the load" in client.get(f"/runs/{run_id}/live").text

    # Another site's page may ask for all of it, and nothing happens.
    for address in ("/loads", f"/runs/{run_id}/stop", f"/runs/{run_id}/compare"):
        for headers in (EVIL, {"Origin": "null"}, {"Sec-Fetch-Site": "same-site"}):
            assert client.post(address, data=FORM, headers=headers).status_code == 403
    assert runs(settings) == [run_id]
    assert run.loader == pid

    assert client.post(f"/runs/{run_id}/stop").status_code == 303
    until(lambda: load_run(settings, run_id).manifest.finished is not None, BOUND, "the load to end in order")
    stopped = load_run(settings, run_id)
    assert 10 < len(stopped.entries()) < 5000
    until(lambda: stopped.loader is None, BOUND, "its process to end")
    assert client.post(f"/runs/{run_id}/stop").status_code == 303, "to stop what has ended is harmless"

    assert client.post(f"/runs/{run_id}/compare").location == f"/runs/{run_id}/compare"
    there = until(lambda: client.get(f"/runs/{run_id}/compare/now").headers.get("HX-Redirect"), BOUND, "the compare to end")
    assert there == f"/runs/{run_id}"
    assert client.get(f"/runs/{run_id}").status_code == 200


# -- comparing


def test_a_compare_that_cannot_be_says_why(settings: Settings, client: FlaskClient) -> None:
    run = compared_runs.make_run(settings, 5, compared=False)
    with next(run.folder.glob("ledger-*.jsonl")).open("ab") as ledger:
        ledger.write(b'{"run": "cut in the midd')
    assert client.post(f"/runs/{run.id}/compare").status_code == 303
    until(lambda: (found := underway.read(run.folder)) is not None and not found.alive, BOUND, "the compare to end")
    assert "is cut in the middle" in client.get(f"/runs/{run.id}/compare").text
    assert "Compare now" in client.get(f"/runs/{run.id}/compare").text, "it can be tried again"


def test_a_compare_says_how_far_it_is_and_one_that_was_killed_is_no_longer_at_work(settings: Settings, client: FlaskClient) -> None:
    run = compared_runs.make_run(settings, 5, compared=False)
    assert underway.read(run.folder) is None
    mine = held.take(run.folder / underway.FILE)
    page = client.get(f"/runs/{run.id}/compare").text
    assert "Reading every backend back" in page
    assert '<noscript><meta http-equiv="refresh"' in page
    mine.write(
        b'{"phase": "waiting", "elapsed": 2.5, "timeout": 120, "paths": {"xray/sdk": {"lacks": 1234, "of": 5000, "reason": ""},'
        b' "rollbar/sdk": {"lacks": 0, "of": 7, "reason": "<b>it is down"}}}'
    )
    mine.write(b'{"cut')
    page = client.get(f"/runs/{run.id}/compare/now").text
    assert "3,766" in page
    assert "1,234" in page
    assert "&lt;b&gt;it is down" in page
    # Asked for twice, it is one compare.
    assert client.post(f"/runs/{run.id}/compare").status_code == 303
    mine.close()
    assert "its process was killed" in client.get(f"/runs/{run.id}/compare").text
    assert client.get(f"/runs/{run.id}/compare/now").headers["HX-Refresh"] == "true"
