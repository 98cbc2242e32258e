"""What readers make of records that somebody else wrote: anything may stand in a log group or a Rollbar project."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compose.settings import SignalPath
from services.compare.model import Verdict
from services.compare.readers import cloudwatch, rollbar
from services.compare.readers.base import Observation, parse
from services.compare.readers.xray import SDK_MARK, walk
from services.compare.verdicts import Comparison
from tests.compare_run import RUN, observations, requests

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=9) | st.just(RUN),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["trace_id", "run", "event.name"]), inner, max_size=3),
    max_leaves=5,
)
keys = ("trace_id", "span_id", "run", "event", "status", "resource", "attributes")
foreign = st.fixed_dictionaries({}, optional=dict.fromkeys(keys, anything))


@pytest.fixture(scope="module")
def comparison() -> Iterator[Comparison]:
    """A run of two requests that arrived whole."""
    entries = requests(2)
    made = Comparison(RUN, entries, tuple(SignalPath))
    made.add(each for entry in entries for each in observations(entry))
    yield made
    made.close()


def disturb_nobody(comparison: Comparison, strangers: list[Observation | None]) -> None:
    """Adding them raises nothing, and the run is judged as it is without them."""
    comparison.add(each for each in strangers if each is not None)
    counts = comparison.judge({}).counts
    for path in SignalPath:
        assert counts[path][Verdict.SEEN] + counts[path][Verdict.NOT_EXPECTED] == 2, path


@settings(deadline=None, max_examples=15)
@given(foreign)
@example({"trace_id": ["a"], "event": "request"})
@example({"trace_id": 5, "run": RUN})
@example({"resource": "text", "attributes": [1]})
def test_a_foreign_log_line_disturbs_nobody(comparison: Comparison, line: dict[str, Any]) -> None:
    event = {"eventId": "1", "timestamp": 1, "message": json.dumps(line)}
    paths = (SignalPath.CLOUDWATCH_WATCHTOWER, SignalPath.CLOUDWATCH_OTLP)
    disturb_nobody(comparison, [cloudwatch.observation(path, event) for path in paths])


@settings(deadline=None, max_examples=15)
@given(anything)
@example("text")
@example({"trace_id": {"a": 1}, "run": RUN})
def test_a_foreign_occurrence_disturbs_nobody(comparison: Comparison, custom: Any) -> None:
    disturb_nobody(comparison, [rollbar.observation({"id": 1, "timestamp": 1, "data": {"custom": custom}})])


@pytest.mark.parametrize(
    ("document", "value"),
    [
        (b'{"a": [1, 2.5, null, "\xc3\xa9"]}', {"a": [1, 2.5, None, "é"]}),
        ('{"a": Infinity}', {"a": float("inf")}),
        ('{"a": "\\ud83d", "b": "\\ud83d\\ude00"}', {"a": "?", "b": "😀"}),
    ],
    ids=["usual", "infinity", "half of a pair"],
)
def test_what_others_write_as_json_is_read(document: str | bytes, value: Any) -> None:
    assert parse(document) == value


@pytest.mark.parametrize("document", ["", "{", "[" * 100_000, '{"a": 1} b', b"\xff"], ids=["nothing", "cut", "deep", "more", "no UTF-8"])
def test_what_is_no_json_is_a_value_error(document: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(document)


def test_a_subsegment_belongs_to_its_segment_in_whichever_order_their_documents_come() -> None:
    mark = {"aws": {"xray": {"sdk": SDK_MARK}}}
    documents: list[dict[str, Any]] = [
        {"id": "s", "name": "Cruddur", "subsegments": [{"id": "a", "name": "query", "subsegments": [{"id": "b", "name": "row"}]}]} | mark,
        {"id": "c", "type": "subsegment", "parent_id": "b", "name": "sent alone", "annotations": {"run": RUN}},
        {"id": "d", "type": "subsegment", "parent_id": "c", "name": "below it"},
        {"id": "o", "name": "cruddur"},
        {"id": "p", "type": "subsegment", "parent_id": "o", "name": "of a span"},
        {"id": "e", "type": "subsegment", "parent_id": "gone", "name": "orphan"},
        {"id": "f", "type": "subsegment", "parent_id": "g", "name": "in a ring"} | mark,
        {"id": "g", "type": "subsegment", "parent_id": "f", "name": "in a ring"},
    ]
    home = {"s": "Cruddur", "a": "Cruddur", "b": "Cruddur", "c": "Cruddur", "d": "Cruddur", "o": "cruddur", "p": "cruddur"}
    by_otlp = {"o", "p", "e"}
    for order in itertools.islice(itertools.permutations(documents), 0, None, 97):
        found = walk({"Id": "1-68000000-" + "0" * 24, "Segments": [{"Document": json.dumps(each)} for each in order]})
        assert {each.id: each.service for each in found} == {each: home.get(each, "") for each in "sabcdopefg"}
        assert {each.id for each in found if each.path is SignalPath.XRAY_OTLP} == by_otlp
        assert {each.run for each in found} == {RUN}
