"""Honeycomb's pages on a real local Honeycomb: datasets, events, a trace, a query; what means ill stays text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from flask.testing import FlaskClient
from werkzeug.datastructures import MultiDict

from compose.settings import SignalPath
from services.compare.readers.base import Observation
from services.compare.web.vendors.honeycomb import form as forms
from services.compare.web.vendors.honeycomb.results import figures
from services.compare.web.vendors.honeycomb.waterfall import rows
from tests.api.honeycomb import HEADERS, send, trace
from tests.api.servers import Vendor, start_vendor
from tests.unit.web_client import said, web

HOSTILE = "<script data-hostile>alert(1)</script>\x07\u202eevil"
HOSTILE_TRACE = 0x695B8F00 << 96 | 2


def hexadecimal(trace_id: int) -> str:
    return f"{trace_id:032x}"


@pytest.fixture(scope="module")
def honeycomb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("honeycomb", tmp_path_factory.mktemp("honeycomb")) as vendor:
        for _ in range(2):
            batch = [{"data": {"name": name, "duration_ms": size, "app.size": size}} for name, size in (("a", 10), ("b", 20), ("b", 30))]
            answer = requests.post(f"{vendor.url}/1/batch/demo", json=batch, headers=HEADERS, timeout=30)
            assert answer.status_code == 200, answer.text
        send(vendor, trace(1 << 96 | 1, spans=3, run="20260105-080000-ab12"))
        send(vendor, trace(HOSTILE_TRACE, 2, "hostile", **{HOSTILE: HOSTILE, "big": "M" * 60_000}))
        yield vendor


@pytest.fixture(scope="module")
def client(honeycomb: Vendor, tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    return web(tmp_path_factory.mktemp("state"), honeycomb_port=honeycomb.port)


def asked(*fields: tuple[str, str]) -> str:
    return "/vendors/honeycomb/query?" + urlencode(fields)


def test_datasets_and_their_columns(client: FlaskClient) -> None:
    page = said(client, "/vendors/honeycomb")
    assert "demo demo 3 " in page
    assert "cruddur cruddur " in page
    columns = said(client, "/vendors/honeycomb/datasets/demo")
    assert "3 columns" in columns
    assert "duration_ms integer" in columns


def test_events_come_newest_first_with_all_their_columns(honeycomb: Vendor, client: FlaskClient) -> None:
    event = {"name": "the newest", "only.here": True}
    requests.post(
        f"{honeycomb.url}/1/batch/newest", json=[{"time": "2026-01-05T08:00:00Z", "data": {"name": "older"}}], headers=HEADERS, timeout=30
    )
    requests.post(
        f"{honeycomb.url}/1/batch/newest", json=[{"time": "2026-01-05T08:30:00Z", "data": event}] * 2, headers=HEADERS, timeout=30
    )
    page = said(client, "/vendors/honeycomb/events?dataset=newest&range=custom&from=2026-01-05T07:00&to=2026-01-05T09:00")
    assert "08:30:00.000 event ×2 the newest" in page, "what was delivered twice is one that says so"
    assert "only.here true" in page
    assert page.index("the newest") < page.index("older")
    assert "No event in the last 15 minutes." in said(client, "/vendors/honeycomb/events?dataset=newest")


def test_a_trace_is_found_by_its_id_in_either_form(client: FlaskClient) -> None:
    trace_id = hexadecimal(1 << 96 | 1)
    answer = client.get(f"/vendors/honeycomb/traces?id=1-{trace_id[:8]}-{trace_id[8:].upper()}")
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/vendors/honeycomb/traces/{trace_id}")
    page = said(client, f"/vendors/honeycomb/traces/{trace_id}")
    assert "3 spans and log records" in page
    assert page.index("span 0") < page.index("span 1")
    raw = client.get(f"/vendors/honeycomb/traces/{trace_id}/raw").get_json()
    assert sorted(row["name"] for row in raw) == ["span 0", "span 1", "span 2"]
    nothing = said(client, "/vendors/honeycomb/traces/" + "0" * 31 + "9")
    assert "Honeycomb has nothing of this trace" in nothing
    assert "the last hour: its id does not begin with a time" in nothing


def test_a_query_has_its_table_its_plots_and_its_json(client: FlaskClient) -> None:
    fields = [("dataset", "demo"), ("op", "COUNT"), ("column", ""), ("op", "MAX"), ("column", "duration_ms"), ("breakdown", "name")]
    page = said(client, asked(*fields, ("order", "MAX(duration_ms)"), ("direction", "ascending"), ("range", "5m")))
    assert "name COUNT MAX(duration_ms) a 2 10 b 4 30" in page
    assert "COUNT over time" in page
    assert "MAX(duration_ms) over time" in page
    assert '"time_range": 300' in page
    filtered = said(client, asked(*fields, ("where", "app.size"), ("is", ">"), ("value", "15"), ("range", "5m")))
    assert "name COUNT MAX(duration_ms) b 4 30" in filtered


def test_what_the_vendor_says_is_wrong_stands_at_the_field(client: FlaskClient) -> None:
    text = client.get(asked(("dataset", "demo"), ("op", "COUNT"), ("column", ""), ("op", "P99"), ("column", ""), ("order", "nothing"))).text
    wrong = re.search(r'<p class="wrong" id="calculation-2-wrong">(.*?)</p>', text)
    assert wrong is not None
    assert "column is required" in wrong[1]
    assert 'aria-describedby="calculation-2-wrong"' in text
    assert "orders[0]" in text


@pytest.mark.parametrize(
    ("name", "value"), [("limit", "many"), ("limit", "0"), ("limit", "1001"), ("granularity", "-1"), ("granularity", "1.5")]
)
def test_a_number_that_is_none_is_told_before_the_vendor_is_asked(client: FlaskClient, name: str, value: str) -> None:
    assert f"{name}={value}" in said(client, asked(("dataset", "demo"), ("op", "COUNT"), (name, value)))


def test_what_means_ill_stays_text(client: FlaskClient) -> None:
    hostile = [("dataset", "hostile"), ("op", HOSTILE), ("column", HOSTILE), ("where", HOSTILE), ("is", HOSTILE), ("value", HOSTILE)]
    for address in (
        "/vendors/honeycomb/datasets/hostile",
        "/vendors/honeycomb/events?dataset=hostile",
        f"/vendors/honeycomb/traces/{hexadecimal(HOSTILE_TRACE)}",
        asked(("dataset", "hostile"), ("op", "COUNT"), ("column", ""), ("breakdown", HOSTILE), ("breakdown", "big")),
        asked(*hostile, ("breakdown", HOSTILE), ("order", HOSTILE), ("granularity", HOSTILE)),
    ):
        text = client.get(address).text
        assert "data-hostile" in text or "nothing of this trace" in text, address
        assert "<script data-hostile" not in text, address
        main = re.sub(r'(?s)(value|href)="[^"]*"', "", text)
        assert not set(main) & {"\x07", "\u202e"}, address
        assert len(text) < 250_000, f"{address}: 60,000 characters were not cut"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("datasets/nobody", 404),
        ("datasets/..", 404),
        ("datasets/a%2Fb%3Fc", 404),
        ("events?dataset=nobody", 404),
        ("query?dataset=nobody&op=COUNT", 404),
        ("query?range=never", 400),
        ("traces/nothing", 404),
        ("traces?id=nothing", 404),
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(client: FlaskClient, path: str, status: int) -> None:
    assert "All runs" in said(client, f"/vendors/honeycomb/{path}", status)


@pytest.mark.parametrize("path", ["", "/datasets/x", "/events?dataset=x", "/query?dataset=x&op=COUNT", "/traces/" + "1" * 32])
def test_a_honeycomb_that_is_down_is_told_and_the_page_is_there(tmp_path: Path, path: str) -> None:
    page = said(web(tmp_path), f"/vendors/honeycomb{path}")
    assert "Honeycomb does not answer at http://127.0.0.1:" in page
    assert "Next: `make status` shows what runs" in page


def test_a_key_that_may_not_read_is_told(honeycomb: Vendor, tmp_path: Path) -> None:
    client = web(tmp_path, honeycomb_port=honeycomb.port, honeycomb_query_key="x" * 22)
    page = said(client, "/vendors/honeycomb/query?dataset=demo&op=COUNT")
    assert "Honeycomb refuses the key (401: unknown API key - check your credentials) Next: set HONEYCOMB_QUERY_KEY" in page


# -- between form and query


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500", 500),
        ("-1.5", -1.5),
        ("1e3", 1000.0),
        ("1e999", "1e999"),
        ("true", True),
        ('"500"', "500"),
        ("0123456789" * 4, "0123456789" * 4),
        ("x", "x"),
        ('"', '"'),
    ],
)
def test_a_value_is_what_it_looks_like(text: str, value: Any) -> None:
    form = forms.read(MultiDict([("dataset", "d"), ("op", "COUNT"), ("where", "c"), ("is", "="), ("value", text)]))
    (condition,) = forms.spec(form, {}, 600)[0]["filters"]
    assert condition == {"column": "c", "op": "=", "value": value}
    assert type(condition["value"]) is type(value)


def test_fields_that_belong_together_are_paired_and_empty_rows_are_none() -> None:
    pairs = [
        ("op", "COUNT"),
        ("column", ""),
        ("op", ""),
        ("column", ""),
        ("op", "P99"),
        ("column", "d"),
        ("where", ""),
        ("is", "="),
        ("value", ""),
    ]
    form = forms.read(MultiDict([("dataset", "x"), *pairs, ("breakdown", ""), ("breakdown", "b"), ("order", "P99(d)")]))
    document, _ = forms.spec(form, {"time_range": 3600}, 3600)
    assert document == {
        "calculations": [{"op": "COUNT"}, {"op": "P99", "column": "d"}],
        "breakdowns": ["b"],
        "orders": [{"op": "P99", "column": "d", "order": "descending"}],
        "granularity": 60,
        "limit": 100,
        "time_range": 3600,
    }


@pytest.mark.parametrize("seconds", [1, 9, 60, 300, 3600, 86_400, 604_800, 6_000_000])
def test_a_granularity_is_one_that_the_api_takes(seconds: int) -> None:
    step = forms.granularity(seconds)
    assert seconds / 1000 <= step <= max(1, seconds / 10)


def test_a_step_without_events_counted_nothing_and_measured_nothing() -> None:
    def at(minute: int, **data: Any) -> Mapping[str, Any]:
        return {"time": f"2026-01-05T08:{minute:02d}:00Z", "data": data}

    answer = {
        "data": {
            "results": [{"data": {"COUNT": 3, "MAX(d)": 9}}],
            "series": [at(0, COUNT=1, **{"MAX(d)": 4}), at(2, COUNT=2, **{"MAX(d)": 9}), {"time": "never"}],
        }
    }
    count, largest = figures(answer, ["COUNT", "MAX(d)"], [], 60, day=False)
    assert [list(each.series[0].values) for each in (count, largest)] == [[1, 0, 2], [4, None, 9]]


# -- the waterfall


def span(identity: str, parent: str | None, start: float) -> Observation:
    return Observation(
        SignalPath.HONEYCOMB_OTLP, "span", "s", identity, identity, "t", None, parent_id=parent, start=start, duration_ms=1000.0
    )


def test_parents_come_before_their_children_and_each_observation_comes_once() -> None:
    shown = rows([span("c", "a", 2.0), span("a", None, 1.0), span("b", "a", 1.5), span("lost", "unknown", 1.2)])
    assert [(row.each.id, row.depth) for row in shown] == [("a", 0), ("b", 1), ("c", 1), ("lost", 0)]
    assert [(row.left, row.width) for row in shown][:2] == [(0.0, 50.0), (25.0, 50.0)]


def test_circles_and_depths_end() -> None:
    circle = [span("a", "b", 1.0), span("b", "a", 2.0), span("self", "self", 3.0)]
    assert sorted(row.each.id for row in rows(circle)) == ["a", "b", "self"]
    deep = [span(str(number), str(number - 1) if number else None, 1.0) for number in range(3_000)]
    assert len(rows(deep)) == 3_000
