"""The pages of one run, asked for without a browser: they count what the record holds, and say why what is asked wrongly is wrong."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from compose.settings import Settings, SignalPath
from loadtest.ledger import LedgerEntry
from loadtest.runs import Run
from services.compare.model import MetricTotal, PathState
from services.compare.readers.base import Observation
from services.compare.record import RECORD, Record
from services.compare.undeclared import Found, Looked, Undeclared
from services.compare.web.app import create_app
from services.compare.web.run import figures
from tests.compared_runs import RUN, STARTED, again, make_run, planned

REQUESTS = 120
#: By sequence: nothing of it on xray/sdk; its spans twice on honeycomb/otlp.
LOST, DOUBLED = {3, 50, 119}, {3, 7}
#: The request that nobody saw an answer to.
SILENT = 5
HOSTILE = "<script data-hostile>alert(1)</script>\u202e"

#: What nobody declared: two names of one path, one of which another has under its own prefix.
BESIDE = Found(
    100,
    REQUESTS,
    [
        Undeclared(SignalPath.HONEYCOMB_OTLP, "span", "", "host.name", 200, 100, HOSTILE, "0" * 32),
        Undeclared(SignalPath.XRAY_OTLP, "segment", "", HOSTILE, 1, 1, "x" * 201, HOSTILE),
        Undeclared(SignalPath.XRAY_OTLP, "segment", HOSTILE, "otel.resource.host.name", 90, 80, "vm", "0" * 32, ("http.route", HOSTILE)),
    ],
    {
        SignalPath.HONEYCOMB_OTLP: Looked({"span": 200}, 100, cut=True),
        SignalPath.XRAY_SDK: Looked({}, 0, reason=HOSTILE),
        SignalPath.XRAY_OTLP: Looked({"segment": 100}, 100),
    },
)


def spoil(entry: LedgerEntry, observation: Observation) -> Iterable[Observation]:
    if observation.path is SignalPath.XRAY_SDK and entry.sequence in LOST:
        return []
    if observation.path is SignalPath.HONEYCOMB_OTLP and entry.sequence in DOUBLED:
        return again(observation)
    if observation.path is SignalPath.XRAY_OTLP:
        kept = {key.replace(".", "_"): value for key, value in observation.attributes.items() if key != "app.now"}
        return [replace(observation, attributes=kept)]
    return [observation]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(_env_file=None, state_dir=tmp_path_factory.mktemp("state"))  # type: ignore[call-arg]


@pytest.fixture(scope="module")
def run(settings: Settings) -> Run:
    entries = planned(RUN, REQUESTS)
    entries[SILENT] = replace(entries[SILENT], status=None, error=HOSTILE, sampled_xray_sdk=None, sampled_otel=None)
    return make_run(
        settings,
        entries=entries,
        spoil=spoil,
        paths=[path for path in SignalPath if path is not SignalPath.ROLLBAR_SDK],
        states={SignalPath.CLOUDWATCH_OTLP: PathState(unreadable=HOSTILE), SignalPath.CLOUDWATCH_WATCHTOWER: PathState(settled=False)},
        metrics=[MetricTotal(SignalPath.HONEYCOMB_OTLP, "messages.created", (5, 6), 4.0)],
        beside=BESIDE,
        strays=[Observation(SignalPath.XRAY_SDK, "segment", "Cruddur", HOSTILE, "f" * 16, HOSTILE, RUN)],
    )


@pytest.fixture(scope="module")
def client(settings: Settings, run: Run) -> FlaskClient:
    return create_app(settings).test_client()


@pytest.fixture(scope="module")
def record(run: Run) -> Record:
    return Record.open(run.folder)


class Page(HTMLParser):
    """A page's text, links and elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: dict[str, str] = {}
        self.tags: set[str] = set()
        self.text = ""
        self._hidden = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags |= {tag, *given}
        self._hidden = tag == "script"
        if tag == "a" and given.get("aria-label"):
            self.links[str(given["aria-label"])] = str(given["href"])

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += data


def get(client: FlaskClient, address: str, status: int = 200) -> Page:
    answer = client.get(address)
    assert answer.status_code == status, answer.text
    return Page(answer.text)


def sequences(page: Page) -> list[int]:
    """The requests of a list, by their trace ids, in its order."""
    return [int(digits, 16) for digits in re.findall(r"\b695b[0-9a-f]{4}([0-9a-f]{24})\b", page.text)]


def total(page: Page) -> int:
    found = re.search(r"([\d,]+) (?:of [\d,]+ )?requests?\b", page.text[page.text.index("UTC.") :])
    assert found is not None
    return int(found[1].replace(",", ""))


def matrix(page: Page) -> dict[str, str]:
    return {name: address for name, address in page.links.items() if re.fullmatch(r"[\d,]+ [a-z-]+ on [a-z]+/[a-z]+", name)}


def test_every_number_of_the_matrix_leads_to_as_many_requests(client: FlaskClient) -> None:
    cells = matrix(get(client, f"/runs/{RUN}"))
    assert {"3 missing on xray/sdk", "2 duplicate on honeycomb/otlp", "120 unreadable on cloudwatch/otlp"} <= set(cells)
    for name, address in cells.items():
        assert total(get(client, address)) == int(name.split()[0].replace(",", "")), address


def test_a_cell_shows_exactly_its_requests_and_why(client: FlaskClient) -> None:
    page = get(client, f"/runs/{RUN}/requests?path=xray/sdk&verdict=missing")
    assert sequences(page) == sorted(LOST)
    assert "absent: segment Cruddur (Cruddur)" in page.text
    assert "because of request 50" in page.text


def test_the_page_of_a_run_says_what_is_wrong_with_paths_metrics_and_strays(client: FlaskClient) -> None:
    text = get(client, f"/runs/{RUN}").text
    assert "off: nothing was sent this way" in text
    assert "<script data-hostile>alert(1)</script>U+202E" in text, "the reason, as text"
    assert "Next: make status" in text
    assert "still changing" in text
    assert "1 stray" in text
    assert re.search(r"messages\.created\s+5 to 6\s+4\s+✗ less", text)
    assert "1 without an answer" in text


@pytest.mark.parametrize(
    "page", ["", "/requests", "/requests?status=none", "/attributes", "/attributes?path=xray/otlp", "/attributes?path=xray/sdk", "/strays"]
)
def test_what_telemetry_says_is_shown_as_text_and_nothing_is_inline(client: FlaskClient, page: str) -> None:
    shown = get(client, f"/runs/{RUN}{page}")
    assert "data-hostile" not in shown.tags
    assert not {"style", "onclick"} & shown.tags
    assert "\u202e" not in shown.text


def test_errors_captured_and_not_captured_are_all_that_failed(client: FlaskClient, record: Record) -> None:
    page = get(client, f"/runs/{RUN}")
    failed = record.rows("SELECT count(*) AS n FROM requests WHERE status >= 500")[0]["n"]
    captured = total(get(client, page.links[next(name for name in page.links if name.endswith("errors captured on honeycomb/otlp"))]))
    assert captured == failed
    missed = total(get(client, f"/runs/{RUN}/requests?path=cloudwatch/watchtower&error=not-captured"))
    caught = total(get(client, f"/runs/{RUN}/requests?path=cloudwatch/watchtower&error=captured"))
    assert missed + caught == failed


@pytest.mark.parametrize(
    ("filters", "condition"),
    [
        ("route=GET /api/health-check", "route = 'GET /api/health-check'"),
        ("status=404", "status = 404"),
        ("status=5xx", "status BETWEEN 500 AND 599"),
        ("status=none", "status IS NULL"),
        ("outcome=bad_input", "outcome = 'bad_input'"),
        ("slower=25", "duration_ms >= 25"),
        ("from=2026-01-05T08:00:00.500&to=2026-01-05T08:00:01", f"start >= {STARTED + 0.5} AND start < {STARTED + 1}"),
        ("status=2xx&slower=20&verdict=not-as-expected", "status = 200 AND duration_ms >= 20 AND sequence IN (3, 7, 50, 119)"),
    ],
    ids=["route", "status", "status-class", "no-answer", "outcome", "slower", "time", "together"],
)
def test_a_filter_finds_what_the_ledger_has(client: FlaskClient, record: Record, filters: str, condition: str) -> None:
    if "verdict" in filters:
        # xray/otlp lacks app.now on every home request, too.
        condition = condition.replace(")", ", " + ", ".join(str(each) for each in _partial(record)) + ")")
    rows = record.rows(f"SELECT sequence FROM requests WHERE {condition} ORDER BY sequence")
    assert rows, "the test would prove nothing"
    page = get(client, f"/runs/{RUN}/requests?{filters}")
    assert total(page) == len(rows)
    assert sequences(page) == [row["sequence"] for row in rows][:50]


def _partial(record: Record) -> list[int]:
    return [row["sequence"] for row in record.rows("SELECT DISTINCT sequence FROM outcomes WHERE verdict = 'partial'")]


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        ("duration", "duration_ms"),
        ("difference", "duration_ms - (SELECT min(o.duration_ms) FROM outcomes AS o WHERE o.sequence = requests.sequence)"),
        ("visible", "(SELECT max(o.visible_s) FROM outcomes AS o WHERE o.sequence = requests.sequence)"),
        ("sequence", "sequence"),
    ],
)
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_the_list_is_sorted_over_all_of_its_pages(client: FlaskClient, record: Record, sort: str, key: str, order: str) -> None:
    expected = [row["sequence"] for row in record.rows(f"SELECT sequence FROM requests ORDER BY {key} {order} NULLS LAST, sequence")]
    found = [
        sequence for page in (1, 2, 3) for sequence in sequences(get(client, f"/runs/{RUN}/requests?sort={sort}&order={order}&page={page}"))
    ]
    assert found == expected


@pytest.mark.parametrize("page", ["0", "4", "-1", "x", "²", "9" * 5000], ids=["0", "4", "minus", "letter", "power", "huge"])
def test_a_page_that_is_not_there_is_told(client: FlaskClient, page: str) -> None:
    assert "This list has 3 pages" in get(client, f"/runs/{RUN}/requests?page={page}", 404).text


def test_nothing_found_says_so_and_leads_back(client: FlaskClient) -> None:
    page = get(client, f"/runs/{RUN}/requests?path=xray/otlp&verdict=duplicate")
    assert "No request is like that." in page.text
    assert page.links["Remove the filter verdict duplicate"] == f"/runs/{RUN}/requests?path=xray/otlp"


def test_a_filter_that_is_not_known_is_a_page_that_says_what_is_and_keeps_the_form(client: FlaskClient) -> None:
    answer = client.get(f"/runs/{RUN}/requests?verdict=lost&route=GET%20/api/health-check")
    assert answer.status_code == 400
    assert "verdict &#39;lost&#39; is not known; known are not-as-expected, seen" in answer.text
    assert re.search(r'<option value="GET /api/health-check" selected>', answer.text)
    assert "path rollbar/sdk was off in this run" in get(client, f"/runs/{RUN}/requests?path=rollbar/sdk", 400).text


def test_a_request_is_found_by_trace_id_in_either_form_and_by_its_number(client: FlaskClient) -> None:
    trace = "695b6f80" + f"{7:024x}"
    for text in (trace, trace.upper(), f"1-{trace[:8]}-{trace[8:]}", "#7", "7"):
        answer = client.get(f"/runs/{RUN}/requests", query_string={"find": text})
        assert (answer.status_code, answer.location) == (302, f"/runs/{RUN}/requests/{trace}"), text
    assert "has no request #999" in get(client, f"/runs/{RUN}/requests?find=999", 404).text
    assert "has no request with trace id" in get(client, f"/runs/{RUN}/requests?find={'a' * 32}", 404).text
    assert get(client, f"/runs/{RUN}/requests?find=<b>x</b>", 404)


def test_attributes_tell_renamed_and_dropped_ones_with_an_example(client: FlaskClient, record: Record) -> None:
    page = get(client, f"/runs/{RUN}/attributes")
    about = {each["key"]: each for each in record.document["paths"]["xray/otlp"]["attributes"]}
    renamed, dropped = about["app.result_length"]["renamed"], about["app.now"]["dropped"]
    assert renamed
    assert dropped
    assert re.search(rf"app\.result_length.*?renamed {renamed} app_result_length", page.text, re.S)
    first = min(_partial(record))
    assert page.links[f"Request #{first} without app.now on xray/otlp"].endswith(f"{first:024x}")


def test_what_is_beside_the_declared_is_listed_by_path_with_who_else_has_it(client: FlaskClient) -> None:
    page = get(client, f"/runs/{RUN}/attributes?path=xray/otlp")
    text = " ".join(page.text.split())
    assert f"100 of {REQUESTS} requests, some of every kind" in text
    assert re.search(r"otel\.resource\.host\.name in <script.* segment 90 of 100 80 vm ↗ http\.route, .* honeycomb/otlp", text)
    assert page.links["A request with otel.resource.host.name on xray/otlp"] == f"/runs/{RUN}/requests/{'0' * 32}"
    assert not [name for name in page.links if "hostile" in name], "what is no trace id leads nowhere"
    first = " ".join(get(client, f"/runs/{RUN}/attributes").text.split())
    assert re.search(r"host\.name span 200 of 200 100 .*xray/otlp", first), "the first path that has something"
    assert "Not all of honeycomb/otlp is listed: it has more names than are kept" in first
    assert "xray/sdk has nothing beside what is declared." in get(client, f"/runs/{RUN}/attributes?path=xray/sdk").text
    for unknown in ("rollbar/sdk", "cloudwatch/otlp", "<b>x"):
        assert "known are honeycomb/otlp, xray/sdk, xray/otlp" in get(client, f"/runs/{RUN}/attributes?path={unknown}", 400).text


def test_a_record_in_which_nobody_looked_says_how_to_make_it_anew(settings: Settings) -> None:
    older = make_run(settings, 5, run="20260105-070000-0000")
    page = get(create_app(settings).test_client(), f"/runs/{older.id}/attributes")
    assert f"make compare RUN={older.id}" in page.text
    shutil.rmtree(older.folder)


def test_strays_are_listed_by_path(client: FlaskClient) -> None:
    page = get(client, f"/runs/{RUN}/strays")
    assert "no ledger line has this trace id" in page.text
    assert "Nothing on honeycomb/otlp is stray." in get(client, f"/runs/{RUN}/strays?path=honeycomb/otlp").text
    get(client, f"/runs/{RUN}/strays?path=rollbar/sdk", 400)
    get(client, f"/runs/{RUN}/strays?page=2", 404)


def test_curves_are_small_and_true(record: Record) -> None:
    figure = figures.durations(record)
    assert figure is not None
    by_name = {series.path or "ledger": series.values for series in figure.series}
    assert list(by_name) == ["ledger", "honeycomb/otlp", "xray/sdk", "xray/otlp"], "the others have no spans"
    durations = sorted(row["duration_ms"] for row in record.rows("SELECT duration_ms FROM requests WHERE status IS NOT NULL"))
    assert by_name["ledger"][0] == pytest.approx(durations[0], rel=1e-4)
    assert by_name["ledger"][-1] == pytest.approx(durations[-1], rel=1e-4)
    assert all(len(series.values) == len(figure.xs) <= 200 for series in figure.series)
    visible = figures.visible(record)
    assert visible is not None
    assert [series.path for series in visible.series] == ["honeycomb/otlp", "cloudwatch/watchtower"]
    assert figures.silent(record) == ["xray/sdk", "xray/otlp"]
    over_time = figures.durations_over_time(record)
    assert over_time is not None
    assert 2 <= len(over_time.xs) <= figures.MOMENTS + 1


def test_answers_are_worked_out_once_for_a_record_and_anew_for_the_next(settings: Settings) -> None:
    other = "20260105-090000-0001"
    made = make_run(settings, 10, run=other)
    before = Record.open(made.folder)
    assert figures.durations(before) is figures.durations(before)
    shutil.rmtree(made.folder)
    after = Record.open(make_run(settings, 12, run=other).folder)
    assert figures.durations(after) != figures.durations(before)


@pytest.fixture
def fresh(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, state_dir=tmp_path)  # type: ignore[call-arg]


def test_a_run_that_was_not_compared_shows_what_its_ledger_says(fresh: Settings) -> None:
    make_run(fresh, 40, compared=False)
    text = get(create_app(fresh).test_client(), f"/runs/{RUN}").text
    assert f"`make compare RUN={RUN}`" in text
    assert "40 of 40 planned" in text
    assert re.search(r"p50 [\d.]+ ms, p99 [\d.]+ ms", text)


@pytest.mark.parametrize("page", ["requests", "attributes", "strays"])
def test_pages_that_need_a_record_say_how_to_make_it(fresh: Settings, page: str) -> None:
    make_run(fresh, 5, compared=False)
    assert f"make compare RUN={RUN}" in get(create_app(fresh).test_client(), f"/runs/{RUN}/{page}", 404).text


@pytest.mark.parametrize("damage", ["record", "ledger", "empty"])
def test_what_cannot_be_read_of_a_run_is_told_and_the_rest_goes_on(fresh: Settings, damage: str) -> None:
    made = make_run(fresh, 0 if damage == "empty" else 5, compared=damage == "record")
    if damage == "record":
        (made.folder / RECORD).write_text("{")
    elif damage == "ledger":
        path = made.folder / "ledger-0.jsonl"
        path.write_text(path.read_text()[:-10])
    text = get(create_app(fresh).test_client(), f"/runs/{RUN}").text
    said = {"record": "cannot be read", "ledger": "is cut in the middle", "empty": "The ledger has no request yet, and the load is over"}
    assert said[damage] in text
    assert "Settings and versions of this run" in text


def test_a_run_of_no_requests_is_no_error(fresh: Settings) -> None:
    make_run(fresh, 0)
    client = create_app(fresh).test_client()
    assert "0 requests" in get(client, f"/runs/{RUN}").text
    assert "This run has no requests." in get(client, f"/runs/{RUN}/requests").text
    assert "Nothing arrived that declares an attribute." in get(client, f"/runs/{RUN}/attributes").text
