"""Filter expressions compiled to SQL pick the traces that the same expressions, evaluated in Python, pick."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localstack.aws.state import State
from localstack.aws.xray.filters.compilation import compile
from localstack.aws.xray.filters.errors import FilterError
from localstack.aws.xray.filters.parser import parse
from localstack.aws.xray.filters.syntax import And, Or, write
from localstack.aws.xray.traces.documents import StoredDocument
from localstack.aws.xray.traces.facts import facts
from localstack.aws.xray.traces.rootcauses import root_causes
from tests.unit import xray_filter_expressions
from tests.unit.xray_filter_aiming import aimed
from tests.unit.xray_filter_evaluation import evaluate
from tests.unit.xray_filter_examples import FIELD, GUIDE
from tests.unit.xray_filter_expressions import ACCOUNTS, KEYS, NAMES, NUMBERS, STRINGS

NOW = 1_795_354_000


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    """One store for all examples: each has traces of its own."""
    state = State(tmp_path_factory.mktemp("filters") / "aws.duckdb", "us-east-1")
    yield state
    state.close()


_numbers = iter(range(1, 1 << 30))


def put(state: State, *traces: list[dict[str, Any]]) -> dict[str, list[StoredDocument]]:
    """Store the documents of traces; the answer has them as they are stored, by trace id."""
    ids = [f"1-{NOW + number % 100:08x}-{number:024x}" for number in (next(_numbers) for _ in traces)]
    flat = [json.dumps(document | {"trace_id": trace_id}) for trace_id, trace in zip(ids, traces, strict=True) for document in trace]
    assert state.xray.segments.put(flat) == []
    found: dict[str, list[StoredDocument]] = {}
    for row in state.store.read(
        """SELECT trace_id, id, parent_id, independent, start_time, end_time, received, revision, document
           FROM segment WHERE trace_id IN (SELECT unnest($ids::VARCHAR[]))""",
        {"ids": ids},
    ):
        found.setdefault(row[0], []).append(StoredDocument(*row))
    return {trace_id: found[trace_id] for trace_id in ids}


def matching(state: State, expression: str, trace_ids: Any, **options: Any) -> list[str]:
    """Which of the traces an expression picks, in their order."""
    condition = state.xray.filters.condition(expression, **options)
    rows = state.store.read(
        f"SELECT trace_id FROM xray_trace t WHERE t.trace_id IN (SELECT unnest($ids::VARCHAR[])) AND {condition.sql}",
        {"ids": list(trace_ids), **condition.parameters},
    )
    found = {row[0] for row in rows}
    return [trace_id for trace_id in trace_ids if trace_id in found]


_strings = st.sampled_from(STRINGS)
_FIELDS = st.fixed_dictionaries(
    {"name": st.sampled_from(NAMES)},
    optional={
        "error": st.booleans(),
        "fault": st.booleans(),
        "throttle": st.booleans(),
        "namespace": st.sampled_from(["aws", "remote", "remote"]),
        "origin": st.just("AWS::EC2::Instance"),
        "user": st.sampled_from(["alice", "a", ""]),
        "resource_arn": st.just("arn:t"),
        "http": st.fixed_dictionaries(
            {},
            optional={
                "request": st.fixed_dictionaries(
                    {}, optional={"url": st.sampled_from(["http://h/x", "50%_", 'q"\\']), "method": st.just("GET"), "client_ip": _strings}
                ),
                "response": st.fixed_dictionaries({}, optional={"status": st.sampled_from([200, 500])}),
            },
        ),
        "aws": st.fixed_dictionaries(
            {},
            optional={
                "account_id": st.sampled_from(ACCOUNTS),
                "ec2": st.just({"availability_zone": "us-east-1a", "instance_id": "i-1"}),
            },
        ),
        "sql": st.just({"url": "db"}),
        "annotations": st.dictionaries(
            st.sampled_from(KEYS), st.one_of(st.booleans(), st.sampled_from(NUMBERS), st.sampled_from([0, 1, 2]), _strings), max_size=2
        ),
        "cause": st.fixed_dictionaries(
            {},
            optional={
                "exceptions": st.lists(
                    st.fixed_dictionaries(
                        {}, optional={"type": st.sampled_from(["KeyError", "a"]), "message": st.sampled_from(["boom", ""])}
                    ),
                    max_size=2,
                )
            },
        ),
    },
)


@st.composite
def _traces(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Documents of a trace, most of them connected to an earlier one."""
    known: list[str] = []
    fresh = iter(range(1, 100))

    def entity(depth: int) -> dict[str, Any]:
        fields: dict[str, Any] = dict(draw(_FIELDS))
        fields["id"] = f"{next(fresh):016x}"
        fields["start_time"] = NOW + draw(st.integers(0, 4)) / 2
        if draw(st.integers(0, 5)):
            fields["end_time"] = fields["start_time"] + draw(st.sampled_from([0, 0.5, 1, 1.5, 2, 0.0004]))
        else:
            fields["in_progress"] = True
        known.append(fields["id"])
        if depth and (children := [entity(depth - 1) for _ in range(draw(st.integers(0, 2)))]):
            fields["subsegments"] = children
        return fields

    documents = []
    for _ in range(draw(st.integers(1, 3))):
        parent = draw(st.sampled_from([None, *known, *known, "00000000000000ff"]))
        fields = entity(2)
        if parent is not None:
            fields["parent_id"] = parent
            if not draw(st.integers(0, 3)):
                fields["type"] = "subsegment"
        documents.append(fields)
    return documents


@settings(max_examples=40, deadline=None)
@given(
    st.lists(_traces(), min_size=1, max_size=4),
    st.lists(xray_filter_expressions.expressions(), min_size=2, max_size=5),
    st.integers(0, 2**32),
)
def test_sql_decides_as_python_does(state: State, traces: list[list[dict[str, Any]]], some: list[Any], seed: int) -> None:
    """Any expression, over any traces: through the text, the index and the tables of root causes.

    Some expressions are random, most are made of what one of the traces has, so that they hold of it and perhaps of others.
    """
    random = Random(seed)
    stored = put(state, *traces)
    known = {trace_id: (facts(trace_id, documents), root_causes(documents)) for trace_id, documents in stored.items()}
    asked = some + [aimed(random, *random.choice(list(known.values()))) for _ in range(20)]
    for _ in range(3):  # with so many lookups that they are made together
        terms = tuple(random.sample(asked, 5))
        asked.append(And(terms) if random.random() < 0.5 else Or(terms))
    for first in range(0, len(asked), 4):
        part = asked[first : first + 4]
        found = decided(state, part, stored, random)
        wrong = [
            (write(expression), trace_id, was)
            for trace_id, one in known.items()
            for expression, was in zip(part, found[trace_id], strict=True)
            if was != evaluate(expression, *one)
        ]
        assert wrong == []


def decided(state: State, asked: list[Any], trace_ids: Any, random: Random) -> dict[str, list[bool]]:
    """What SQL says of some expressions, of each of the traces."""
    began = random.choice([None, (NOW, NOW + 100)])
    conditions = [
        state.xray.filters.condition(write(expression), prefix=f"f{number}", began=began) for number, expression in enumerate(asked)
    ]
    columns = ", ".join(f"coalesce({condition.sql}, false)" for condition in conditions)
    parameters = {name: value for condition in conditions for name, value in condition.parameters.items()}
    found = state.store.read(
        f"SELECT t.trace_id, {columns} FROM xray_trace t WHERE t.trace_id IN (SELECT unnest($ids::VARCHAR[]))",
        {"ids": list(trace_ids), **parameters},
    )
    return {trace_id: row for trace_id, *row in found}


def segment(identity: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"{identity:016x}", "name": "api", "start_time": NOW, "end_time": NOW + 1} | fields


@pytest.mark.parametrize("text", GUIDE + FIELD)
def test_what_people_write_can_be_asked(state: State, text: str) -> None:
    condition = compile(text, lambda _by, _value: "ok", began=(NOW, NOW + 1))
    state.store.read(f"SELECT count(*) FROM xray_trace t WHERE {condition.sql}", condition.parameters)


@pytest.mark.parametrize(
    "value",
    ["' OR true --", '" OR true --', "'); DROP TABLE segment; --", "$filter_0", "{0}", "%", "_", "\\", "\0", "🚀'", "a' UNION SELECT 1 --"],
)
def test_nothing_of_an_expression_becomes_sql(state: State, value: str) -> None:
    """Wherever a text can stand it is only ever a parameter: it matches itself and nothing else."""
    annotation = value.replace("\0", "0")
    stored = put(state, [segment(1, user=value, annotations={annotation: value})], [segment(2, user="x" + value[1:] + "x", fault=True)])
    first, second = stored
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    key = '"' + annotation.replace("\\", "\\\\").replace('"', '\\"') + '"'
    for text in (
        f"user = {quoted}",
        f"user CONTAINS {quoted} AND user BEGINSWITH {quoted} AND user ENDSWITH {quoted}",
        f"annotation[{key}] = {quoted}",
        f"service {{ annotation[{key}] }}",
    ):
        assert matching(state, text, stored) == [first], text
        sql = compile(text, lambda _by, _value: None).sql
        assert value not in sql or value in ("\\", "_", "$filter_0", "{0}"), sql
    assert matching(state, f"service({quoted})", stored) == []
    assert matching(state, f"edge(id(type: {quoted}, account.id: {quoted}), {quoted})", stored) == []
    assert matching(state, f"rootcause.fault.service {{ name = {quoted} }}", stored) == []
    pattern = json.dumps([{"Services": [{"Name": value}]}])
    assert matching(state, f"rootcause.json = #{pattern}", stored) == []
    assert matching(state, "fault", stored) == [second]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('service("api") { responsetime = 1 AND duration = 3 }', True),
        ('service("late") { responsetime = 0 AND duration = 0 }', True),
        ('service("open") { responsetime OR duration }', False),
        ('service("open") { !(responsetime >= 0) AND !(duration >= 0) }', True),
        ('edge("api", "called") { duration = 2.5 }', True),
        ("!(http.status = 200) AND !(http.status != 200)", True),
    ],
)
def test_times_that_are_odd(state: State, text: str, holds: bool) -> None:
    """Work that outlasts its segment, an end before the start, what has not ended, and what is not set."""
    call = {"id": f"{9:016x}", "name": "called", "namespace": "remote", "start_time": NOW + 0.5, "end_time": NOW + 3}
    stored = put(
        state,
        [
            segment(1, subsegments=[call]),
            segment(2, name="late", parent_id=f"{1:016x}", end_time=NOW - 1),
            {"id": f"{3:016x}", "name": "open", "start_time": NOW, "in_progress": True, "parent_id": f"{1:016x}"},
        ],
    )
    assert bool(matching(state, text, stored)) == holds


def test_two_conditions_stand_in_one_statement(state: State) -> None:
    stored = put(state, [segment(1, user="alice")], [segment(1, user="bob")])
    state.xray.index.refresh()
    first, second = (
        compile(text, lambda _by, _value: None, prefix=prefix) for text, prefix in (('user = "alice"', "f1"), ('user = "bob"', "f"))
    )
    rows = state.store.read(
        f"SELECT trace_id FROM xray_trace t WHERE ({first.sql} OR {second.sql}) AND trace_id IN (SELECT unnest($ids::VARCHAR[]))",
        {**first.parameters, **second.parameters, "ids": list(stored)},
    )
    assert {row[0] for row in rows} == set(stored)


def test_root_causes_follow_a_trace_that_changes(state: State) -> None:
    """A segment that comes after the question, also into a trace whose root causes were asked for, is in the next answer."""
    stored = put(state, [segment(1)], [segment(1, fault=True)])
    (quiet, faulty) = stored
    assert matching(state, "rootcause.fault", stored) == [faulty]
    late = segment(2, name="late", parent_id=f"{1:016x}", fault=True) | {"trace_id": quiet}
    again = segment(1, name="again", fault=True) | {"trace_id": faulty}
    assert state.xray.segments.put([json.dumps(late), json.dumps(again)]) == []
    assert matching(state, 'rootcause.fault.service { last and name = "late" }', stored) == [quiet]
    assert matching(state, 'rootcause.fault.service { name = "again" }', stored) == [faulty]
    assert matching(state, 'rootcause.fault.service { name = "api" }', stored) == [quiet]


def test_root_causes_are_derived_in_parts(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many traces there are, all are in the tables afterwards, once; and only those of the range asked for."""
    monkeypatch.setattr("localstack.aws.xray.filters.causes.PART_TRACES", 3)
    stored = put(state, *[[segment(1, error=True, name=f"n{number}")] for number in range(10)])
    began = sorted(int(trace_id[2:10], 16) for trace_id in stored)
    condition = state.xray.filters.condition("rootcause.error", began=(began[2], began[7]))
    assert condition.causes == {"error"}
    asked = state.store.read(
        "SELECT t.trace_id FROM xray_root_cause JOIN xray_trace t USING (trace) WHERE kind = 'error' AND t.trace_id IN (SELECT unnest(?))",
        [list(stored)],
    )
    assert sorted(row[0] for row in asked) == sorted(trace_id for trace_id in stored if began[2] <= int(trace_id[2:10], 16) <= began[7])
    assert matching(state, "rootcause.error.service { first and last }", stored) == list(stored)
    monkeypatch.setattr("localstack.aws.xray.filters.causes.PART_BYTES", 1)
    assert matching(state, "rootcause.responsetime.entity { coverage = 1 }", stored) == list(stored)
    assert state.store.read("SELECT count(*), count(DISTINCT (trace, kind)) FROM xray_root_cause_known GROUP BY kind")[0][0] > 0
    doubles = state.store.read("SELECT trace FROM xray_root_cause_known GROUP BY trace, kind HAVING count(*) > 1")
    assert doubles == []


# -- groups


def expanded(text: str, groups: dict[str, str]) -> str:
    return compile(text, lambda by, value: groups.get(f"{by} {value}")).sql


def test_a_group_stands_for_its_expression() -> None:
    groups = {"name slow": "responsetime > 3 OR fault", "arn x": 'group.name = "slow" AND ok', "name all": ""}
    assert expanded('group.name = "slow" AND ok', groups) == expanded("(responsetime > 3 OR fault) AND ok", {})
    assert expanded('group.arn = "x"', groups) == expanded("(responsetime > 3 OR fault) AND ok", {})
    assert expanded('group.name != "slow"', groups) == expanded("!(responsetime > 3 OR fault)", {})
    assert expanded('group.name = "all"', groups) == expanded("ok OR !ok", {})


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({}, "there is no group 'g'"),
        ({"name g": 'group.name = "g"'}, "the group 'g' > 'g' is part of itself"),
        ({"name g": 'ok group.name = "h"', "name h": '!group.name = "g"'}, "the group 'g' > 'h' > 'g' is part of itself"),
        ({"name g": 'group.arn = "g"', "arn g": 'group.name = "g"'}, "is part of itself"),
        ({"name g": "ok AND"}, "the expression of the group 'g' cannot be used: Invalid filter expression at line 1, column 7"),
        ({"name g": " OR ".join(["ok"] * 200)}, "with its groups, an expression has at most"),
        ({f"name {a}": f'group.name = "{b}"' for a, b in zip("ghijkl", "hijklm", strict=True)} | {"name m": "ok"}, "nested more than"),
    ],
)
def test_a_group_that_cannot_be_used(groups: dict[str, str], message: str) -> None:
    with pytest.raises(FilterError) as caught:
        expanded('ok AND (group.name = "g" OR group.name = "g")', groups)
    assert caught.value.column in (9, 29), "where the text names the group, not where the group's expression fails"
    assert message in caught.value.message


def test_expressions_of_groups_are_checked_when_they_are_given(tmp_path: Path) -> None:
    state = State(tmp_path / "aws.duckdb", "us-east-1")
    groups = state.xray.groups
    try:
        for text in ("service(", 'group.name = "missing"', 'group.name = "a"'):
            with pytest.raises(FilterError):
                groups.create("a", text, None, {})
        assert [group["GroupName"] for group in groups.all()] == ["Default"]
        groups.create("a", 'group.name = "Default" AND fault', None, {})
        groups.create("b", 'group.name = "a"', None, {})
        with pytest.raises(FilterError, match="'b' > 'a' > 'b' is part of itself"):
            groups.update({"GroupName": "a"}, 'group.name = "b"', None)
        assert groups.get({"GroupName": "a"})["FilterExpression"] == 'group.name = "Default" AND fault'
    finally:
        state.close()


def test_the_number_of_terms_that_are_allowed_can_be_asked(state: State) -> None:
    """An expression at the limits is slow, not broken."""
    services = " ".join(f'!service("s{number}") {{ fault annotation.a annotation.b annotation.c }}' for number in range(50))
    nested = "(" * 28 + "ok" + ")" * 28
    stored = put(state, [segment(1)])
    for text in (services, nested, " ".join(f"!annotation.k{number}" for number in range(250)), " ".join(["edge { user http.url }"] * 80)):
        assert len(matching(state, text, stored)) == (0 if "edge" in text else 1)
    assert parse(nested) == parse("ok")
