"""What arrived beside what is declared: documents of every kind are taken apart, what is declared is left out, what is kept is bounded."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as some

from compose.settings import SignalPath
from loadtest.ledger import LedgerEntry
from services.compare import undeclared
from services.compare.export.secrets import Secrets
from services.compare.readers.base import Batch, Observation, Reader, Unreadable, Window
from services.compare.sample import Sample
from services.compare.undeclared import SAMPLE, Found, Undeclared, chosen, fields
from services.cruddur.signals import Kind
from tests.compared_runs import RUN, planned

TRACE = "695b8f00" + "0" * 24


@pytest.mark.parametrize(
    ("path", "document", "found"),
    [
        (
            SignalPath.HONEYCOMB_OTLP,
            {"trace.trace_id": "t", "name": "GET", "db.system.name": "sqlite", "COUNT": 1, "MAX(duration_ms)": 2.0},
            {"db.system.name": "sqlite"},
        ),
        (
            SignalPath.XRAY_OTLP,
            {
                "id": "a",
                "http": {"response": {"status": 200}},
                "annotations": {"run": RUN},
                "metadata": {"default": {"otel.resource.x": [1, 2]}, "odd": 1},
                "cause": {"exceptions": [{"type": "A"}, {"type": "B"}]},
            },
            {
                "http.response.status": 200,
                "annotations: run": RUN,
                "metadata.default: otel.resource.x": [1, 2],
                "cause.exceptions[].type": "B",
            },
        ),
        (SignalPath.CLOUDWATCH_WATCHTOWER, {"event": "home", "scheme": "http"}, {"scheme": "http"}),
        (
            SignalPath.CLOUDWATCH_OTLP,
            {
                "body": "x",
                "trace_id": "t",
                "attributes": {"event.name": "home", "a.b": 1},
                "resource": {"service.name": "c", "host.name": "h"},
            },
            {"body": "x", "attributes: a.b": 1, "resource: host.name": "h"},
        ),
        (
            SignalPath.ROLLBAR_SDK,
            {"uuid": "u", "level": "error", "custom": {"run": RUN}, "server": {"argv": [], "host": "vm"}},
            {"custom: run": RUN, "server.host": "vm"},
        ),
    ],
    ids=[path.replace("/", "-") for path in SignalPath if path is not SignalPath.XRAY_SDK],
)
def test_a_document_is_taken_apart_and_what_identifies_it_is_left_out(path: SignalPath, document: Any, found: dict[str, Any]) -> None:
    assert {f"{each.place}: {each.name}" if each.place else each.name: each.value for each in fields(path, document)} == found


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(some.sampled_from(SignalPath), JSON, JSON, JSON)
def test_a_document_of_any_shape_is_taken_apart(path: SignalPath, one: Any, two: Any, three: Any) -> None:
    for document in (one, {"annotations": one, "metadata": two, "attributes": three, "resource": one, "custom": two, "http": three}):
        for each in fields(path, document):
            assert each.value is not None
            undeclared.as_text(each.value)


def test_a_document_of_any_size_and_depth_is_looked_at_within_bounds() -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = {"x": deep}
    wide = {f"k{number}": number for number in range(10_000)}
    assert len(fields(SignalPath.XRAY_SDK, {"http": wide})) == undeclared.MOST_FIELDS
    (one,) = fields(SignalPath.XRAY_SDK, {"http": deep})
    assert one.name.count(".") == undeclared.DEEPEST
    assert undeclared.as_text(one.value) == "…"


def observed(path: SignalPath, kind: Kind, trace: str, document: Any) -> Observation:
    return Observation(path, kind, "s", "n", "i", trace, RUN, document=document)


def found(entries: list[LedgerEntry], make: Callable[[LedgerEntry], list[Observation]]) -> Found:
    return undeclared.undeclared(
        entries, [each for entry in entries for each in make(entry)], len(entries), [SignalPath.HONEYCOMB_OTLP, SignalPath.XRAY_OTLP]
    )


def test_names_are_counted_by_documents_and_requests_with_an_example_and_what_has_the_same_values() -> None:
    entries = planned(RUN, 120)
    codes = {entry.trace_id: entry.status for entry in entries}
    assert len(set(codes.values())) > 2

    def make(entry: LedgerEntry) -> list[Observation]:
        declared = {"http.response.status_code": entry.status, "run": RUN, "region": "here"}
        document = {
            "annotations": {"run": RUN},
            "metadata": {"default": {"http.route": "always"}},
            "http": {"response": {"status": str(entry.status)}},
        }
        return [
            observed(SignalPath.HONEYCOMB_OTLP, "span", entry.trace_id, declared),
            observed(SignalPath.XRAY_OTLP, "segment", entry.trace_id, document),
            observed(SignalPath.XRAY_OTLP, "segment", entry.trace_id, document),
        ]

    first = entries[0]
    assert found(entries, make).rows == [
        Undeclared(SignalPath.HONEYCOMB_OTLP, "span", "", "region", 120, 120, "here", first.trace_id),
        Undeclared(
            SignalPath.XRAY_OTLP,
            "segment",
            "",
            "http.response.status",
            240,
            120,
            str(first.status),
            first.trace_id,
            ("http.response.status_code",),
        ),
        Undeclared(SignalPath.XRAY_OTLP, "segment", "metadata.default", "http.route", 240, 120, "always", first.trace_id),
    ]
    assert found(entries, make).document() == {
        "requests": 120,
        "of": 120,
        "paths": {
            "honeycomb/otlp": {"documents": {"span": 120}, "requests": 120, "cut": False, "reason": None},
            "xray/otlp": {"documents": {"segment": 240}, "requests": 120, "cut": False, "reason": None},
        },
    }


def test_a_value_that_differs_once_stands_for_nothing_and_neither_does_one_that_never_varies() -> None:
    entries = planned(RUN, 60)

    def make(entry: LedgerEntry) -> list[Observation]:
        declared = {"http.response.status_code": entry.status, "http.request.method": "GET"}
        other = {"http": {"status": 1 if entry.sequence == 59 else entry.status, "method": "GET"}}
        return [
            observed(SignalPath.HONEYCOMB_OTLP, "span", entry.trace_id, declared),
            observed(SignalPath.XRAY_OTLP, "segment", entry.trace_id, other),
        ]

    assert {row.name: row.same_as for row in found(entries, make).rows} == {"http.status": (), "http.method": ()}


def test_what_is_kept_is_bounded_and_says_that_it_was_cut() -> None:
    entries = planned(RUN, 3)

    def make(entry: LedgerEntry) -> list[Observation]:
        document = {f"{entry.sequence}-{number}": "x" * 10_000 for number in range(400)} | {"\ud800" + "k" * 5_000: "\ud800"}
        return [observed(SignalPath.HONEYCOMB_OTLP, "span", entry.trace_id, document)]

    kept = found(entries, make)
    assert kept.paths[SignalPath.HONEYCOMB_OTLP].cut
    assert not kept.paths[SignalPath.XRAY_OTLP].cut
    assert len(kept.rows) == undeclared.MOST_NAMES
    assert max(len(row.example) for row in kept.rows) == undeclared.LONGEST_EXAMPLE + 1
    one = found(
        planned(RUN, 1),
        lambda entry: [observed(SignalPath.HONEYCOMB_OTLP, "span", entry.trace_id, {"\ud800" + "k" * 999: "\ud800"})],
    )
    (row,) = one.rows
    assert (row.name, row.example) == ("?" + "k" * (undeclared.LONGEST_NAME - 1) + "…", "?"), "as it can be written"


def test_a_record_of_more_values_than_are_looked_at_loses_no_attribute_and_says_so() -> None:
    frames = [{"filename": f"{number}.py", "lineno": number, "method": "f", "code": "f()"} for number in range(600)]
    entries = planned(RUN, 1)
    item = {"body": {"trace": {"frames": frames}}, "custom": {"run": RUN, "region": "here"}}
    kept = undeclared.undeclared(
        entries, [observed(SignalPath.ROLLBAR_SDK, "item", entries[0].trace_id, item)], 1, [SignalPath.ROLLBAR_SDK]
    )
    assert ("custom", "region") in {(row.place, row.name) for row in kept.rows}
    assert kept.paths[SignalPath.ROLLBAR_SDK].cut


SECRET = "hcaik_" + "0123456789abcdef" * 3


@pytest.mark.parametrize("cut_at", [1, 20, len(SECRET) - 1])
def test_a_secret_that_the_cut_goes_through_leaves_nothing_behind(cut_at: int) -> None:
    """An export takes whole secrets out of what is kept; of one that was cut, it would not find the beginning."""
    before = "x" * (undeclared.LONGEST_EXAMPLE - cut_at)
    document = {"url": f"{before}{SECRET}", f"{before}{SECRET}": 1, "url2": f"{before}{quote(SECRET, safe='')}&{before}"}
    entries = planned(RUN, 1)
    found = undeclared.undeclared(
        entries,
        [observed(SignalPath.HONEYCOMB_OTLP, "span", entries[0].trace_id, document)],
        1,
        [SignalPath.HONEYCOMB_OTLP],
        removed=Secrets(frozenset({SECRET})).removed,
    )
    assert len(found.rows) == 3
    kept = [row.name for row in found.rows] + [row.example for row in found.rows]
    assert not [text for text in kept if "hc"[:cut_at] in text], "nor any of its first characters"


def test_a_request_of_another_version_makes_nothing_declared_and_no_harm() -> None:
    entries = [replace(planned(RUN, 1)[0], route="PUT /nowhere")]
    rows = found(entries, lambda entry: [observed(SignalPath.HONEYCOMB_OTLP, "span", entry.trace_id, {"run": RUN})]).rows
    assert [row.name for row in rows] == ["run"]


def test_a_sample_has_every_kind_of_request_and_is_all_of_a_small_run() -> None:
    entries = planned(RUN, 5_000)
    sample = chosen(entries)
    assert len(sample) == SAMPLE
    kinds = {(entry.route, entry.outcome, entry.status) for entry in entries}
    assert {(entry.route, entry.outcome, entry.status) for entry in entries if entry.trace_id in sample} == kinds
    assert chosen(entries[:SAMPLE]) == {entry.trace_id for entry in entries[:SAMPLE]}
    assert chosen([]) == frozenset()


class Told:
    """A reader that says what it is told to say, one look after the other."""

    paths = frozenset({SignalPath.XRAY_SDK, SignalPath.XRAY_OTLP})
    pause = 0.5

    def __init__(self, *looks: list[Batch | Unreadable]) -> None:
        self.looks = list(looks)

    def read(self, window: Window, wanted: Collection[str] | None) -> Iterator[Batch]:
        for each in self.looks.pop(0):
            if isinstance(each, Unreadable):
                raise each
            yield each

    def trace(self, trace_id: str, around: float) -> list[Observation]:
        raise AssertionError(f"nobody asks for {trace_id} at {around}")


def listened(reader: Reader, wanted: list[list[str] | None]) -> tuple[Sample, int]:
    """The sample after these looks, and how many batches were passed on."""
    sample = Sample(frozenset({TRACE}))
    listening = sample.listening(reader)
    passed = 0
    for each in wanted:
        try:
            passed += len(list(listening.read(Window(RUN, 0, 1), each)))
        except Unreadable:
            continue
    return sample, passed


def test_a_sample_holds_what_is_still_true_of_its_requests_and_passes_everything_on() -> None:
    first, again = observed(SignalPath.XRAY_SDK, "segment", TRACE, {"a": 1}), observed(SignalPath.XRAY_SDK, "segment", TRACE, {"a": 2})
    other = observed(SignalPath.XRAY_SDK, "segment", "f" * 32, {})
    replaced = Batch([again], replaces=frozenset({TRACE}))
    sample, passed = listened(Told([Batch([first, other])], [replaced]), [None, [TRACE]])
    assert (sample.observations(), passed) == ([again], 2)
    sample, _ = listened(Told([Batch([first])], [Batch([again])]), [None, None])
    assert sample.observations() == [again], "a first look forgets the one before"
    sample, _ = listened(Told([Batch([first]), Unreadable("down")]), [None])
    assert sample.observations() == [], "what was read before it failed is not all there is"


def test_a_backend_that_cannot_be_asked_for_the_sample_costs_its_own_paths_and_says_why() -> None:
    sample = Sample(frozenset({TRACE}))
    kept = observed(SignalPath.ROLLBAR_SDK, "item", TRACE, {})
    sample.take([SignalPath.ROLLBAR_SDK], Batch([kept]))
    sample.ask(Told([Unreadable("its plan does not allow it")]), Window(RUN, 0, 1))
    assert sample.observations() == [kept]
    assert set(sample.reasons.values()) == {"its plan does not allow it"}
    found = undeclared.undeclared([], [], 0, [SignalPath.XRAY_SDK], sample.reasons)
    assert json.loads(json.dumps(found.document()))["paths"]["xray/sdk"]["reason"] == "its plan does not allow it"
