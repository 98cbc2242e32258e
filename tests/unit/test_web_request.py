"""The page of one request: from the record, from vendors that do not answer, of an imported run; raw data; whatever is hostile in it."""

from __future__ import annotations

import html
import itertools
import json
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flask.testing import FlaskClient

from compose.settings import Settings, SignalPath
from loadtest.ledger import LedgerEntry
from loadtest.runs import IMPORTED, MANIFEST, Run
from services.compare import trace
from services.compare.model import PathState
from services.compare.readers.base import Observation
from services.compare.record import DOCUMENTS, Record, document
from services.compare.web import vendor_links
from services.compare.web.app import create_app
from services.compare.web.waterfall import ROWS
from tests import compared_runs
from tests.api.servers import hermetic_settings
from tests.compared_runs import STARTED, Spoil, make_run
from tests.ports import free_port

HONEYCOMB, XRAY_OTLP, XRAY_SDK = SignalPath.HONEYCOMB_OTLP, SignalPath.XRAY_OTLP, SignalPath.XRAY_SDK
HOSTILE = "<script data-hostile>alert(1)</script>\x1b[31m\u202egnp.exe\" onload='x' {{ 7 * 191 }}"


@dataclass(frozen=True)
class Here:
    """A run of its own, on an application that all tests share: templates are compiled once."""

    settings: Settings
    client: FlaskClient
    number: int

    @property
    def run(self) -> str:
        return f"20260105-080000-{self.number:04x}"

    @property
    def trace(self) -> str:
        return self.entry().trace_id

    def entry(self, sequence: int = 0, outcome: str = "ok", status: int | None = 200, **more: Any) -> LedgerEntry:
        known: dict[str, Any] = {
            "run": self.run,
            "sequence": sequence,
            "trace_id": f"{int(STARTED):08x}{self.number:08x}{sequence + 1:016x}",
            "method": "GET",
            "route": "GET /api/activities/home",
            "target": "/api/activities/home",
            "outcome": outcome,
            "status": status,
            "start": STARTED + sequence,
            "duration_ms": 40.0,
            "sampled_xray_sdk": True,
            "sampled_otel": True,
        }
        return LedgerEntry(**known | more)

    def span(self, number: int = 0, **more: Any) -> Observation:
        """A span within the request, which no signal declares."""
        known: dict[str, Any] = {
            "path": HONEYCOMB,
            "kind": "span",
            "service": "cruddur",
            "name": "work",
            "id": f"e{number:015x}",
            "trace_id": self.trace,
            "run": self.run,
            "attributes": {"run": self.run},
            "parent_id": "0" * 16,
            "start": STARTED + 0.001,
            "duration_ms": 3.0,
        }
        return Observation(**known | more)

    def make(self, *entries: LedgerEntry, **more: Any) -> Run:
        return make_run(self.settings, **{"run": self.run, "entries": entries or [self.entry()]} | more)

    def address(self, below: str = "", trace: str = "") -> str:
        return f"/runs/{self.run}/requests/{trace or self.trace}{below}"

    def page(self, below: str = "", status: int = 200, trace: str = "") -> str:
        """The request's page, or what is below it."""
        answer = self.client.get(self.address(below, trace))
        assert answer.status_code == status, answer.get_data(as_text=True)[:2000]
        return answer.get_data(as_text=True)

    def json(self, below: str) -> Any:
        return json.loads(self.client.get(self.address(below)).data)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Vendors where nobody listens."""
    down = f"http://127.0.0.1:{free_port()}"
    return hermetic_settings(
        state_dir=tmp_path_factory.mktemp("state"),
        honeycomb_endpoint=down,
        xray_endpoint=down,
        logs_endpoint=down,
        rollbar_endpoint=down,
        compare_timeout=1,
    )


@pytest.fixture(scope="module")
def client(settings: Settings) -> FlaskClient:
    return create_app(settings).test_client()


_NUMBERS = itertools.count(1)


@pytest.fixture
def here(settings: Settings, client: FlaskClient) -> Here:
    return Here(settings, client, next(_NUMBERS))


@pytest.fixture(scope="module")
def kept(settings: Settings, client: FlaskClient) -> Here:
    """A request as it should be, for the tests that only look."""
    here = Here(settings, client, 0)
    here.make()
    return here


def words_of(page: str) -> str:
    """A page's text, as one reads it."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", page)).split())


def pane(page: str, path: SignalPath) -> str:
    found = re.search(rf'<section class="pane [^"]*" id="pane-{str(path).replace("/", "-")}".*?</section>', page, re.DOTALL)
    assert found is not None
    return found[0]


def also(*more: Observation) -> Spoil:
    """What arrived, and with the first of it these."""
    left = list(more)

    def spoil(_: LedgerEntry, observation: Observation) -> Iterator[Observation]:
        yield observation
        while left:
            yield left.pop()

    return spoil


# -- from the record


def test_every_path_shows_the_request_on_one_axis(kept: Here) -> None:
    page = kept.page()
    words = words_of(page)
    assert "GET /api/activities/home → 200" in words
    assert "40.0 ms for the client" in words
    for path in SignalPath:
        assert pane(page, path)
    assert "home.activities" in pane(page, HONEYCOMB)
    assert "HomeActivities" in pane(page, XRAY_SDK)
    assert "as it should be" in pane(page, SignalPath.ROLLBAR_SDK)
    same = {
        name: re.search(rf'data-operation="(op\d+)">(?:(?!</li>).)*<bdi>{name}</bdi>', pane(page, path), re.DOTALL)
        for name, path in (("home.activities", HONEYCOMB), ("HomeActivities", XRAY_SDK))
    }
    assert len({match[1] for match in same.values() if match is not None}) == 1, "two names of one operation"


def test_an_operation_is_marked_by_its_address_without_a_script(kept: Here) -> None:
    marked = re.findall(r'<(?:li|tr)[^>]*class="[^"]*marked[^"]*"[^>]*>', kept.page("?operation=op2"))
    assert len(marked) >= 6, "in panes and in the table"


def test_what_is_missing_has_its_place_and_its_reason(here: Here) -> None:
    here.make(spoil=compared_runs.without(XRAY_SDK, {0}))
    page = here.page()
    lost = pane(page, XRAY_SDK)
    assert lost.count('class="row ghost"') == 2
    assert "missing: HomeActivities" in words_of(lost)
    assert "because of request 0" in words_of(lost)
    assert "2 missing" in words_of(page)


def test_what_differs_says_by_how_much(here: Here) -> None:
    def spoil(_: LedgerEntry, observation: Observation) -> Sequence[Observation]:
        if observation.name == "HomeActivities":
            return [replace(observation, duration_ms=80.0)]
        return (
            compared_runs.again(observation) if observation.name == "home.activities" and observation.path is HONEYCOMB else [observation]
        )

    here.make(spoil=spoil)
    page = here.page()
    assert re.search(r"Δ \+\d\d\.\d ms \(\+\d+ %\)", words_of(pane(page, XRAY_SDK)))
    assert "×2" in words_of(pane(page, HONEYCOMB))


def test_a_path_that_could_not_be_read_says_so_in_its_own_pane(here: Here) -> None:
    here.make(
        spoil=compared_runs.without(HONEYCOMB, {0}),
        states={HONEYCOMB: PathState(unreadable="Honeycomb refuses the key")},
    )
    page = here.page()
    assert "Honeycomb refuses the key Next: make status" in words_of(pane(page, HONEYCOMB))
    assert "missing" not in words_of(pane(page, HONEYCOMB))
    assert "HomeActivities" in pane(page, XRAY_SDK)


def test_what_was_not_sampled_is_not_missing(here: Here) -> None:
    here.make(here.entry(sampled_otel=False, sampled_xray_sdk=False))
    page = here.page()
    assert "Not sampled" in pane(page, XRAY_SDK)
    assert "ghost" not in page
    assert "Nothing differs" in words_of(page)


def test_from_a_request_to_the_next_and_to_the_next_that_is_not_as_expected(here: Here) -> None:
    entries = [here.entry(number) for number in range(6)]
    here.make(*entries, spoil=compared_runs.without(XRAY_SDK, {0, 4}))
    page = here.page(trace=entries[2].trace_id)
    for label, sequence in (("Previous", 1), ("Next", 3), ("previous one", 0), ("next one", 4)):
        assert re.search(rf'href="{here.address(trace=entries[sequence].trace_id)}">{label}<', page), label
    first = here.page(trace=entries[0].trace_id)
    assert ">Previous<" not in first
    assert ">previous one<" not in first


def test_a_trace_without_a_ledger_line_shows_what_there_is(here: Here) -> None:
    stray = here.span(trace_id="f" * 32, name="nobody asked for this")
    here.make(strays=[stray])
    page = here.page(trace="f" * 32)
    assert "nobody asked for this" in pane(page, HONEYCOMB)
    words = words_of(page)
    assert "No line of this run's ledger" in words
    assert "Stray on" in words
    assert "ghost" not in page


@pytest.mark.parametrize("form", ["1-{}-{}", "{}{}"], ids=["X-Ray's", "upper case"])
def test_another_form_of_the_id_leads_to_the_same_page(here: Here, form: str) -> None:
    here.make()
    trace_id = here.trace
    answer = here.client.get(f"/runs/{here.run}/requests/{form.format(trace_id[:8], trace_id[8:]).upper()}?operation=op2")
    assert answer.status_code == 301
    assert answer.headers["Location"].endswith(here.address("?operation=op2"))


def test_a_huge_trace_is_drawn_in_part_until_all_is_asked_for(here: Here) -> None:
    many = [here.span(number, start=STARTED + number / 1e5) for number in range(1000)]
    here.make(spoil=also(*many))
    page = here.page()
    assert pane(page, HONEYCOMB).count('<li class="row') == ROWS
    assert "All 1,004 rows" in page
    whole = here.page("?all=1")
    assert pane(whole, HONEYCOMB).count('<li class="row') == 1004


def test_a_time_that_cannot_be_does_not_stretch_the_axis(here: Here) -> None:
    times = (0.0, 1e300, -1e300, float("nan"), STARTED + 1e6, STARTED - 1e6, None)
    here.make(spoil=also(*(here.span(number, start=start, duration_ms=float("inf")) for number, start in enumerate(times))))
    page = here.page()
    ticks = re.findall(r"<text[^>]*>([^<]*)</text>", page.split('class="row axis"')[1].split("</svg>")[0])
    assert ticks == ["0", "10 ms", "20 ms", "30 ms", "40 ms"]


# -- what is not there


@pytest.mark.parametrize(
    ("trace", "below", "status", "says"),
    [
        ("a" * 32, "", 404, "No such request"),
        ("a" * 32, "", 404, "?source=vendors"),
        ("nonsense", "", 404, "is not a trace id"),
        ("0" * 32, "", 404, "is not a trace id"),
        ("<script>", "", 404, "is not a trace id"),
        ("", "?source=elsewhere", 400, "neither record nor vendors"),
        ("", "?operation=op99", 400, "op99"),
        ("", "/raw/honeycomb/sdk/1", 404, "No such path"),
        ("", "/raw/honeycomb/otlp/~0", 404, "No such observation"),
        ("", "/raw/honeycomb/otlp/1?format=xml", 400, "is not json"),
    ],
    ids=range(10),
)
def test_what_is_not_there_gets_a_page_that_says_so(kept: Here, trace: str, below: str, status: int, says: str) -> None:
    assert says in words_of(kept.page(below, status, trace))


def test_a_run_that_is_not_there(here: Here) -> None:
    assert here.run in here.page(status=404)


def test_a_trace_of_another_run_names_it(kept: Here, here: Here) -> None:
    here.make()
    assert f"is request #0 of run {here.run}" in words_of(kept.page(status=404, trace=here.trace))


# -- from the vendors


def test_vendors_that_are_down_say_so_each_in_its_own_pane(here: Here) -> None:
    here.make()
    page = here.page("?source=vendors")
    assert "Read from the vendors just now" in words_of(page)
    for path in SignalPath:
        assert "does not answer" in pane(page, path), path
        assert "Next: make status" in words_of(pane(page, path)).replace("`", ""), path
    assert "40.0 ms" in page, "the client's own line is there"


def test_a_run_that_was_not_compared_is_read_from_the_vendors(here: Here) -> None:
    here.make(compared=False)
    words = words_of(here.page())
    assert "Read from the vendors just now" in words
    assert f"make compare RUN={here.run}" in words


def test_vendors_of_another_mode_are_not_asked(here: Here) -> None:
    run = here.make()
    _online(run)
    page = here.page("?source=vendors")
    assert "MODE is offline" in pane(page, XRAY_SDK)


def test_a_vendor_that_hangs_costs_its_own_pane_only(here: Here) -> None:
    class Hangs:
        paths = frozenset({HONEYCOMB})
        pause = 1.0
        done = threading.Event()

        def trace(self, *_: object) -> list[Observation]:
            self.done.wait()
            return []

    class Answers:
        paths = frozenset({XRAY_SDK})
        pause = 1.0

        def trace(self, *_: object) -> list[Observation]:
            return [here.span(path=XRAY_SDK, kind="segment")]

    readers: list[Any] = [Hangs(), Answers()]
    try:
        view = trace.collect(here.trace, here.entry(), [HONEYCOMB, XRAY_SDK], readers, patience=0.2)
    finally:
        Hangs.done.set()
    found = {each.path: each for each in view.paths}
    assert found[HONEYCOMB].unreadable == "no answer within 0.2 s"
    assert found[HONEYCOMB].hint
    assert len(found[XRAY_SDK].observations) == 1


# -- raw data


def _kept(run: Run, rows: Sequence[tuple[str, str, str, str]]) -> None:
    """Raw documents beside the record, as an export leaves them."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    table = pa.table(dict(zip(("path", "trace_id", "id", "document"), columns, strict=True)))
    pq.write_table(table, run.folder / document(run.folder)["folder"] / DOCUMENTS)


def test_raw_data_that_was_kept_needs_no_vendor(here: Here) -> None:
    run = here.make()
    trace_id = here.trace
    _kept(run, [(str(HONEYCOMB), trace_id, "00000000" * 2, json.dumps({"name": "kept", "html": HOSTILE}))])
    below = "/raw/honeycomb/otlp/0000000000000000"
    assert f'href="{here.address(below)}"' in here.page(), "one click away"
    page = here.page(below)
    assert "Kept with the run" in page
    assert "<script data" not in page
    answer = here.client.get(here.address(below) + "?format=json")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="honeycomb-otlp-{trace_id}.json"'
    assert answer.get_json() == {"name": "kept", "html": HOSTILE}


def test_two_documents_of_one_id_are_both_there(here: Here) -> None:
    run = here.make()
    same = (str(HONEYCOMB), here.trace, "0" * 16)
    _kept(run, [(*same, '{"n": 1}'), (*same, '{"n": 2}')])
    below = "/raw/honeycomb/otlp/0000000000000000"
    assert "It has 2 with this id" in words_of(here.page(below))
    assert here.json(below + "?format=json") == [{"n": 1}, {"n": 2}]


def test_a_megabyte_of_raw_data_is_cut_on_the_page_and_whole_in_the_file(here: Here) -> None:
    run = here.make()
    big = {"value": "M" * 1_000_000, "half": "\ud800"}
    _kept(run, [(str(HONEYCOMB), here.trace, "0" * 16, json.dumps(big))])
    below = "/raw/honeycomb/otlp/0000000000000000"
    page = here.page(below)
    assert len(page) < 250_000
    assert "the download has them all" in page
    assert here.json(below + "?format=json") == big


def test_raw_data_that_nobody_can_give_says_why(here: Here) -> None:
    here.make()
    page = here.page("/raw/xray/sdk/0000000000000002", 502)
    assert "does not answer" in page


def test_an_imported_run_asks_no_vendor_here(here: Here) -> None:
    run = here.make()
    (run.folder / IMPORTED).write_text("{}")
    page = here.page()
    assert "HomeActivities" in page
    assert "Read again now" not in page
    raw = here.page("/raw/xray/sdk/0000000000000002", 404)
    assert "its vendors are elsewhere" in raw


def test_an_id_of_any_form_has_an_address(here: Here) -> None:
    ids = ["", "../../etc", "a?b#c", "x" * 5000, "\u202e\x00", "span/<script>"]
    run = here.make(spoil=also(*(here.span(id=identity, name=f"odd {number}") for number, identity in enumerate(ids))))
    _kept(run, [(str(HONEYCOMB), here.trace, identity, json.dumps(number)) for number, identity in enumerate(ids)])
    page = here.page()
    for number in range(len(ids)):
        (where,) = re.findall(rf'data-raw href="([^"]*)">raw<span class="unseen"> data of span odd {number} ', page)
        assert json.loads(here.client.get(html.unescape(where) + "?format=json").data) == number


# -- what means ill


@pytest.mark.parametrize("text", [HOSTILE, HOSTILE + "M" * 1_000_000], ids=["text", "megabyte"])
def test_whatever_telemetry_says_stays_text(here: Here, text: str) -> None:
    odd = [
        here.span(1, name=text),
        here.span(2, service=text),
        here.span(3, id=text, parent_id=text),
        here.span(4, path=SignalPath.CLOUDWATCH_OTLP, kind="log", name=text, duration_ms=None),
        here.span(5, path=SignalPath.ROLLBAR_SDK, kind="item", name=text, duration_ms=None, error=True),
    ]
    here.make(here.entry(target=text, error=text, outcome="exception", status=500), strays=odd)
    page = here.page()
    assert "<script data" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "1337" not in page
    assert len(page) < 200_000
    assert page.count("<h1>") == 1


# -- the vendors' own pages


def _online(run: Run) -> None:
    manifest = json.loads((run.folder / MANIFEST).read_text())
    manifest["mode"] = "online"
    manifest["settings"]["aws_region"] = "eu-west-1"
    (run.folder / MANIFEST).write_text(json.dumps(manifest))


def test_a_run_of_the_real_vendors_leads_to_their_pages(here: Here) -> None:
    run = here.make(here.entry(outcome="exception", status=500))
    _online(run)
    page = here.page()
    found = [html.unescape(each) for each in re.findall(r'<a href="(https://[^"]*)" rel="noreferrer">', page)]
    assert [urlsplit(each).netloc for each in found] == ["eu-west-1.console.aws.amazon.com"] * 4 + ["rollbar.com"]


def test_a_local_run_leads_to_the_pages_of_the_local_vendors(here: Here) -> None:
    here.make()
    page = here.page()
    assert f'href="/vendors/xray/traces/{here.trace}"' in page
    assert "https://" not in page


def test_an_item_leads_to_its_own_occurrence_by_its_uuid(here: Here) -> None:
    run = here.make(here.entry(outcome="exception", status=500))
    (item,) = (row["id"] for row in Record.open(run.folder).rows("FROM observations WHERE path = 'rollbar/sdk'"))
    assert f'href="/vendors/rollbar/occurrences/uuid/{item}" rel="noreferrer">its occurrence in Rollbar</a>' in here.page()


def test_honeycomb_is_where_its_key_says() -> None:
    auth = {"team": {"slug": "my team"}, "environment": {"slug": "test"}}
    found = vendor_links.honeycomb("https://api.honeycomb.io", auth, "Cruddur Web", "ab" * 16, 1000.5, 1002.0)
    assert found is not None
    parts = urlsplit(found)
    assert (parts.netloc, parts.path) == ("ui.honeycomb.io", "/my%20team/environments/test/datasets/cruddur-web/trace")
    assert parse_qs(parts.query) == {"trace_id": ["ab" * 16], "trace_start_ts": ["940"], "trace_end_ts": ["1062"]}


@pytest.mark.parametrize(
    ("api", "auth", "begins"),
    [
        (
            "https://api.eu1.honeycomb.io",
            {"team": {"slug": "t"}, "environment": {"slug": "e"}},
            "https://ui.eu1.honeycomb.io/t/environments/e/",
        ),
        ("https://api.honeycomb.io", {"team": {"slug": "t"}, "environment": {"slug": ""}}, "https://ui.honeycomb.io/t/datasets/cruddur/"),
        ("https://api.honeycomb.io", {"team": None}, None),
        ("https://api.honeycomb.io", {}, None),
        ("http://127.0.0.1:4570", {"team": {"slug": "t"}}, None),
        ("https://evil.example/api.honeycomb.io", {"team": {"slug": "t"}}, None),
    ],
    ids=["Europe", "Classic", "no team", "nothing", "local", "another's"],
)
def test_honeycomb_of_a_region_and_of_nobody(api: str, auth: dict[str, Any], begins: str | None) -> None:
    found = vendor_links.honeycomb(api, auth, "cruddur", "ab" * 16, 0, 0)
    assert found is None if begins is None else found is not None and found.startswith(begins)


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "us-east-1.console.aws.amazon.com"),
        ("cn-north-1", "cn-north-1.console.amazonaws.cn"),
        ("us-gov-west-1", "us-gov-west-1.console.amazonaws-us-gov.com"),
    ],
)
def test_x_ray_is_in_the_console_of_its_region(region: str, host: str) -> None:
    trace_id = "695b8f00" + "a" * 24
    found = vendor_links.xray(region, trace_id)
    assert found == f"https://{host}/cloudwatch/home?region={region}#xray:traces/1-695b8f00-{'a' * 24}"


def test_a_region_that_is_none_stays_part_of_the_address() -> None:
    assert urlsplit(vendor_links.xray("evil.example/?", "0" * 32)).hostname == "evil.example%2F%3F.console.aws.amazon.com"


def test_logs_insights_is_asked_for_the_trace() -> None:
    found = vendor_links.cloudwatch("eu-west-1", "/parallax/otlp", "ab" * 16, STARTED, STARTED + 1)
    assert found.startswith(
        "https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1#logsV2:logs-insights$3FqueryDetail$3D~("
    )
    assert "start~'2026-01-05T07*3a59*3a00.000Z" in found
    assert f"message*20like*20*22{'ab' * 16}*22" in found
    assert found.endswith("~source~(~'*2fparallax*2fotlp))")


def test_rollbar_finds_an_occurrence_by_its_uuid() -> None:
    assert vendor_links.rollbar("78ee5c48-bad8 &") == "https://rollbar.com/occurrence/uuid/?uuid=78ee5c48-bad8+%26"


def test_honeycomb_that_does_not_say_whose_key_it_is(here: Here) -> None:
    here.make()
    assert "does not answer" in here.page("/honeycomb", 502)


def test_a_run_that_is_gone_meanwhile(here: Here) -> None:
    run = here.make()
    here.page()
    shutil.rmtree(run.folder)
    here.page(status=404)
