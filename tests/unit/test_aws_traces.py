"""Putting traces together from documents, and summing them up: pure functions, no store."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from localstack.aws.xray.documents import StoredDocument, assemble, walk
from localstack.aws.xray.summaries import summarize

TRACE = "1-6b02ee0b-536effe739ae0731fac41d6c"


def stored(
    identity: str, parent: str | None = None, independent: bool = False, start: float = 1.0, end: float | None = 2.0, **fields: Any
) -> StoredDocument:
    document = {"id": identity, "name": f"n{identity}", "trace_id": TRACE, "start_time": start} | fields
    if end is None:
        document["in_progress"] = True
    else:
        document["end_time"] = end
    if parent is not None:
        document["parent_id"] = parent
    if independent:
        document["type"] = "subsegment"
    return StoredDocument(TRACE, identity, parent, independent, start, end, 0.0, 1, json.dumps(document))


def shape(trees: list[dict[str, Any]]) -> Any:
    """Trees as nested ``{id: children}``."""
    return {tree["id"]: shape([child for child in tree.get("subsegments", []) if isinstance(child, dict)]) for tree in trees}


def test_segments_stay_documents_of_their_own() -> None:
    assert shape(assemble([stored("b", parent="a", start=2.0), stored("a")])) == {"a": {}, "b": {}}


def test_an_independent_subsegment_moves_into_its_parent() -> None:
    trees = assemble([stored("b", parent="a", independent=True), stored("a")])
    assert shape(trees) == {"a": {"b": {}}}
    assert not {"type", "parent_id", "trace_id"} & set(trees[0]["subsegments"][0])


def test_without_its_parent_it_stays_a_document_that_says_where_it_belongs() -> None:
    (tree,) = assemble([stored("b", parent="x", independent=True)])
    assert (tree["type"], tree["parent_id"]) == ("subsegment", "x")


def test_a_streamed_subsegment_takes_the_place_of_its_older_self() -> None:
    parent = stored("a", subsegments=[{"id": "b", "name": "old", "start_time": 1.0, "in_progress": True}, "c"])
    trees = assemble([parent, stored("b", parent="a", independent=True), stored("c", parent="a", independent=True)])
    assert shape(trees) == {"a": {"b": {}, "c": {}}}
    assert [child["name"] for child in trees[0]["subsegments"]] == ["nb", "nc"]


def test_a_null_list_of_subsegments_is_an_empty_one() -> None:
    assert shape(assemble([stored("a", subsegments=None), stored("b", parent="a", independent=True)])) == {"a": {"b": {}}}


def test_documents_that_name_each_other_as_parents_are_all_returned() -> None:
    trees = assemble(
        [stored("a", parent="b", independent=True), stored("b", parent="a", independent=True), stored("c", parent="c", independent=True)]
    )
    assert sorted(node["id"] for tree in trees for node in walk(tree)) == ["a", "b", "c"]


@given(st.integers(min_value=1, max_value=12), st.randoms(use_true_random=False))
def test_no_document_is_lost_or_doubled_whatever_the_parents(count: int, chance: random.Random) -> None:
    names = [f"{number}" for number in range(count)]
    documents = []
    for number, name in enumerate(names):
        parent = chance.choice([None, "elsewhere", *names])
        documents.append(stored(name, parent=parent, independent=parent is not None and chance.random() < 0.8, start=float(number)))
    chance.shuffle(documents)
    trees = assemble(documents)
    assert sorted(node["id"] for tree in trees for node in walk(tree)) == sorted(names)


def test_the_order_of_arrival_does_not_matter() -> None:
    documents = [stored("a"), stored("b", parent="a", independent=True, start=1.1), stored("c", parent="b", independent=True, start=1.2)]
    assert assemble(documents) == assemble(documents[::-1])


def test_the_root_is_the_earliest_segment_without_a_parent_in_the_trace() -> None:
    later = stored("b", parent="outside", start=1.5, end=9.0, name="Later", fault=True)
    root = stored("a", parent="outside", start=1.0, end=1.25, name="Root", error=True)
    child = stored("c", parent="a", start=0.5, end=2.0, name="ClockAhead")
    summary = summarize(TRACE, [later, child, root])
    assert summary["EntryPoint"]["Name"] == "Root"
    assert (summary["HasError"], summary["HasFault"], summary["ResponseTime"], summary["Duration"]) == (True, False, 0.25, 8.5)


def test_a_trace_in_progress_is_partial_and_has_no_response_time() -> None:
    summary = summarize(TRACE, [stored("a", end=None)])
    assert summary["IsPartial"] is True
    assert summary["Duration"] == 0.0
    assert "ResponseTime" not in summary


def test_a_trace_of_orphans_only_has_no_root() -> None:
    summary = summarize(TRACE, [stored("b", parent="x", independent=True, annotations={"run": "r"})])
    assert "EntryPoint" not in summary
    assert summary["ServiceIds"] == []
    assert summary["Annotations"] == {"run": [{"AnnotationValue": {"StringValue": "r"}, "ServiceIds": []}]}


def test_annotations_of_embedded_and_independent_subsegments_belong_to_their_segments_service() -> None:
    segment = stored(
        "a",
        name="Cruddur",
        annotations={"k": 1},
        subsegments=[{"id": "s", "name": "s", "start_time": 1, "end_time": 2, "annotations": {"k": 1}}],
    )
    child = stored("b", parent="s", independent=True, annotations={"k": True, "other": "x", "list": [1]})
    annotations = summarize(TRACE, [child, segment])["Annotations"]
    service = {"Name": "Cruddur", "Names": ["Cruddur"]}
    assert annotations == {
        "k": [
            {"AnnotationValue": {"NumberValue": 1}, "ServiceIds": [service]},
            {"AnnotationValue": {"BooleanValue": True}, "ServiceIds": [service]},
        ],
        "other": [{"AnnotationValue": {"StringValue": "x"}, "ServiceIds": [service]}],
    }


def test_oddly_shaped_blocks_are_left_out_not_fatal() -> None:
    odd = stored("a", http={"request": "x", "response": {"status": "500"}}, aws={"ec2": 5}, user=7, origin=1, resource_arn=2)
    summary = summarize(TRACE, [odd])
    assert (summary["Http"], summary["Users"], summary["InstanceIds"], summary["ResourceARNs"]) == ({}, [], [], [])
