"""Checking segment documents, and telling epoch trace ids from random ones."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from localstack.aws.xray.segments import RETENTION_SECONDS, Rejected, Segment, id_time, parse

NOW = 1_795_354_123.5


def document(trace_epoch: int) -> str:
    trace = f"1-{trace_epoch:08x}-{'a' * 24}"
    return json.dumps({"id": "b" * 16, "name": "n", "trace_id": trace, "start_time": NOW, "end_time": NOW + 1})


def test_an_id_of_the_last_30_days_carries_its_time() -> None:
    assert id_time(f"1-{int(NOW):08x}-{'a' * 24}", NOW) == int(NOW)
    assert id_time(f"1-{int(NOW - RETENTION_SECONDS) + 1:08x}-{'a' * 24}", NOW) is not None
    assert id_time(f"1-{int(NOW - RETENTION_SECONDS) - 1:08x}-{'a' * 24}", NOW) is None
    assert id_time(f"1-ffffffff-{'a' * 24}", NOW) is None


def test_random_ids_are_taken_unless_old_ids_are_to_be_refused() -> None:
    random_id = document(0xFFFFFFFF)
    assert isinstance(parse(random_id, NOW), Segment)
    rejected = parse(random_id, NOW, reject_old=True)
    assert isinstance(rejected, Rejected)
    assert rejected.code == "InvalidTraceId"
    assert isinstance(parse(document(int(NOW)), NOW, reject_old=True), Segment)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
_KEYS = [
    "id", "name", "trace_id", "parent_id", "start_time", "end_time", "in_progress", "type", "subsegments",
    "http", "aws", "annotations", "metadata", "cause", "error", "fault", "throttle", "service", "user",
]  # fmt: skip
_GOOD = json.loads(document(int(NOW)))


@given(st.dictionaries(st.sampled_from(_KEYS), _JSON, max_size=5))
def test_whatever_a_field_holds_the_answer_is_a_segment_or_a_reason(change: dict[str, object]) -> None:
    answer = parse(json.dumps(_GOOD | change), NOW)
    assert isinstance(answer, Segment | Rejected)


@given(st.text(max_size=200))
def test_whatever_text_comes_the_answer_is_a_reason(text: str) -> None:
    assert isinstance(parse(text, NOW), Rejected)
