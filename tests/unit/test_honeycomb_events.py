"""Bodies of the Events API: what is stored, and what is refused with which message."""

from __future__ import annotations

import contextlib
import datetime
import gzip
from typing import Any

import msgpack
import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from localstack.encoding import BodyMalformed, BodyTooLarge, decode
from localstack.honeycomb import events
from localstack.honeycomb.events import Rejected

NOW = 1_700_000_000_000_000_000
JSON = "application/json"


def batch(*items: Any, depth: int = 0) -> events.BatchResult:
    return events.batch(orjson.dumps(items), JSON, "ds", NOW, depth)


def data(result: events.BatchResult) -> list[dict[str, Any]]:
    return [orjson.loads(row[-1]) for row in result.rows.rows]


def test_each_event_of_a_batch_is_judged_alone() -> None:
    result = batch(
        {"data": {"a": 1}},
        {"data": {}},
        {"time": "2023-11-14T22:13:20.5Z", "samplerate": 3, "data": {"b": "x"}},
        {"data": dict.fromkeys(map(str, range(2001)), 1)},
        "no object",
        {"data": {"a": "x" * 70_000}},
        {"time": "yesterday", "data": {"a": 1}},
        {"samplerate": "2", "data": {"a": 1}},
    )
    assert result.statuses == [
        {"status": 202},
        {"status": 400, "error": "Request body should not be empty."},
        {"status": 202},
        {"status": 400, "error": "Event has too many columns."},
        {"status": 400, "error": "Request body is malformed and cannot be read."},
        {"status": 400, "error": "Event has a string that is too large."},
        {"status": 400, "error": "Request body is malformed and cannot be read."},
        {"status": 400, "error": "Request body is malformed and cannot be read."},
    ]
    assert [row[:3] for row in result.rows.rows] == [("ds", NOW, 1), ("ds", NOW + 500_000_000, 3)]


def test_an_event_beyond_a_megabyte() -> None:
    assert batch({"data": {str(n): "x" * 60_000 for n in range(17)}}).statuses == [{"status": 400, "error": "Request body is too large."}]


def test_nested_values_become_strings_unless_the_dataset_expands_them() -> None:
    nested = {"data": {"a": {"b": {"c": 1}}, "list": [1, "x"], "null": None}}
    assert data(batch(nested)) == [{"a": '{"b":{"c":1}}', "list": '[1,"x"]'}]
    assert data(batch(nested, depth=1)) == [{"a.b": '{"c":1}', "list": '[1,"x"]'}]
    assert data(batch(nested, depth=5)) == [{"a.b.c": 1, "list": '[1,"x"]'}]


def test_msgpack_with_its_own_timestamps() -> None:
    moment = datetime.datetime(2023, 11, 14, 22, 13, 20, 250_000, tzinfo=datetime.UTC)
    body = msgpack.packb([{"time": moment, "data": {"a": 1, 2: "two"}}], datetime=True)
    result = events.batch(body, "application/msgpack", "ds", 0)
    assert result.rows.rows[0][1] == NOW + 250_000_000
    assert data(result) == [{"a": 1, "2": "two"}]


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-14T22:13:20.123456789Z", NOW + 123_456_789),
        ("2023-11-15T00:13:20+02:00", NOW),
        ("2023-11-14 22:13:20", NOW),
        ("1700000000", NOW),
        (1_700_000_000, NOW),
        (1_700_000_000.5, NOW + 500_000_000),
        (1_700_000_000_500, NOW + 500_000_000),
        (NOW, NOW),
    ],
)
def test_times(text: Any, nanoseconds: int) -> None:
    assert events.timestamp(text) == nanoseconds


@pytest.mark.parametrize("value", ["", "soon", "2023-13-01T00:00:00Z", True, [], {}, float("nan"), float("inf"), 10**30])
def test_what_is_no_time(value: Any) -> None:
    with pytest.raises(Rejected):
        events.timestamp(value)


@pytest.mark.parametrize(
    ("body", "message"), [(b"", events.EMPTY), (b"{", events.MALFORMED), (b"{}", events.MALFORMED), (b"[" * 9000, events.MALFORMED)]
)
def test_bodies_that_are_no_batch(body: bytes, message: str) -> None:
    with pytest.raises(Rejected, match=message):
        events.batch(body, JSON, "ds", NOW)


@given(st.binary(max_size=200), st.sampled_from([JSON, "application/msgpack", ""]))
def test_any_body_is_taken_or_rejected(body: bytes, content_type: str) -> None:
    for read in (lambda: events.batch(body, content_type, "ds", NOW), lambda: events.single(body, content_type, "ds", "", "", NOW)):
        try:
            read()
        except Rejected as error:
            assert str(error)  # noqa: PT017 (either outcome is right)


@given(st.binary(max_size=300), st.sampled_from(["gzip", "zstd"]))
def test_any_packed_body_is_unpacked_or_refused(body: bytes, encoding: str) -> None:
    with contextlib.suppress(BodyMalformed, BodyTooLarge):
        decode(body, encoding, 1000)


def test_unpacking_stops_at_the_limit() -> None:
    bomb = b"\0" * 50_000_000
    for packed, encoding in ((gzip.compress(bomb), "gzip"), (zstandard.compress(bomb), "zstd")):
        assert len(packed) < 100_000
        with pytest.raises(BodyTooLarge):
            decode(packed, encoding, 100_000)
    assert decode(gzip.compress(b"a") + gzip.compress(b"b"), "gzip", 100) == b"ab"
    assert decode(zstandard.compress(b"ab"), "zstd", 100) == b"ab"
    for cut, encoding in ((gzip.compress(b"abc" * 99)[:-9], "gzip"), (zstandard.compress(b"abc" * 99)[:-4], "zstd"), (b"x", "br")):
        with pytest.raises(BodyMalformed):
            decode(cut, encoding, 1000)
