"""Putting traces together from documents: pure functions, no store."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from localstack.aws.xray.traces.assembly import Tree, assemble, walk
from localstack.aws.xray.traces.documents import StoredDocument
from tests.unit.xray_documents import stored, subsegment


def fields(documents: list[StoredDocument]) -> list[dict[str, Any]]:
    return [tree.fields for tree in assemble(documents)]


def shape(trees: list[dict[str, Any]]) -> Any:
    """Trees as nested ``{id: children}``."""
    return {tree["id"]: shape(tree.get("subsegments") or []) for tree in trees}


def ids(trees: list[Tree]) -> list[str]:
    return sorted(node["id"] for tree in trees for node in walk(tree.fields))


def test_segments_stay_documents_of_their_own() -> None:
    assert shape(fields([stored("b", parent="a", start=2.0), stored("a")])) == {"a": {}, "b": {}}


def test_an_independent_subsegment_moves_into_its_parent() -> None:
    trees = fields([stored("b", parent="a", independent=True), stored("a")])
    assert shape(trees) == {"a": {"b": {}}}
    assert not {"type", "parent_id", "trace_id"} & set(trees[0]["subsegments"][0])


def test_without_its_parent_it_stays_a_document_that_says_where_it_belongs() -> None:
    (tree,) = fields([stored("b", parent="x", independent=True)])
    assert (tree["type"], tree["parent_id"]) == ("subsegment", "x")


def test_a_streamed_subsegment_takes_the_place_of_its_older_self_and_of_its_id() -> None:
    parent = stored("a", subsegments=[subsegment("b", end=None, name="old"), "c", subsegment("d"), "never-came"])
    trees = fields([parent, stored("b", parent="a", independent=True), stored("c", parent="a", independent=True)])
    assert shape(trees) == {"a": {"d": {}, "b": {}, "c": {}}}
    assert [child["name"] for child in trees[0]["subsegments"]] == ["nd", "nb", "nc"]


def test_a_subsegment_is_found_by_its_parent_however_its_digits_are_written() -> None:
    assert shape(fields([stored("aB", subsegments=[subsegment("Cd")]), stored("e", parent="cD", independent=True)])) == {
        "aB": {"Cd": {"e": {}}}
    }


def test_a_null_list_of_subsegments_is_an_empty_one() -> None:
    assert shape(fields([stored("a", subsegments=None), stored("b", parent="a", independent=True)])) == {"a": {"b": {}}}


def test_what_nobody_changed_comes_back_as_the_text_that_was_sent() -> None:
    links = [{"trace_id": "1-6b02ee0b-536effe739ae0731fac41d6d", "id": "b", "attributes": {"aws.xray.linked": 1}}]
    sent = stored("a", subsegments=[subsegment("c", precursor_ids=["d"])], links=links, precursor_ids=["x"], undocumented={"a": None})
    (tree,) = assemble([sent])
    assert tree.documents() == [("a", sent.document)]


def test_precursors_and_links_stay_where_a_subsegment_moves() -> None:
    links = [{"trace_id": "1-6b02ee0b-536effe739ae0731fac41d6d", "id": "b"}]
    (tree,) = assemble([stored("a"), stored("b", parent="a", independent=True, precursor_ids=["c"], links=links)])
    ((_, text),) = tree.documents()
    (child,) = json.loads(text)["subsegments"]
    assert (child["precursor_ids"], child["links"]) == (["c"], links)


def test_documents_that_name_each_other_as_parents_are_all_returned() -> None:
    circle = [stored(one, parent=other, independent=True) for one, other in ("ab", "bc", "ca", "dd")]
    assert ids(assemble(circle)) == ["a", "b", "c", "d"]
    assert assemble(circle) == assemble(circle[::-1])


def test_a_chain_of_subsegments_too_deep_for_json_comes_back_in_its_parts() -> None:
    chain = [stored("0000", start=0.0)]
    chain += [stored(f"{n:04}", parent=f"{n - 1:04}", independent=True, start=float(n)) for n in range(1, 1500)]
    (tree,) = assemble(chain)
    assert sorted(tree.documents()) == [(one.id, one.document) for one in chain]


@given(st.integers(min_value=1, max_value=12), st.randoms(use_true_random=False))
def test_no_document_is_lost_or_doubled_whatever_the_parents_and_the_order_of_arrival(count: int, chance: random.Random) -> None:
    names = [f"{number:02}" for number in range(count)]
    documents = []
    for number, name in enumerate(names):
        parent = chance.choice([None, "elsewhere", *names, *(f"{name}-in" for name in names)])
        inner = [subsegment(f"{name}-in")] if chance.random() < 0.4 else []
        documents.append(
            stored(
                name,
                parent=parent,
                independent=parent is not None and chance.random() < 0.8,
                start=float(chance.randrange(3)),
                subsegments=inner + chance.sample(names, k=min(number, 2)),
            )
        )
    trees = assemble(documents)
    sent = [node["id"] for one in documents for node in walk(json.loads(one.document))]
    assert ids(trees) == sorted(sent)
    assert sorted(part.id for tree in trees for part in tree.parts) == names
    shuffled = documents[:]
    chance.shuffle(shuffled)
    again = assemble(shuffled)
    assert [tree.fields for tree in again] == [tree.fields for tree in trees]
    assert [tree.documents() for tree in again] == [tree.documents() for tree in trees]
    for tree in trees:
        if tree.altered:
            assert [json.loads(text) for _, text in tree.documents()] == [tree.fields]
        else:
            assert json.loads(tree.stored.document) == tree.fields
