"""Filter expressions: which texts are understood, as what, and what is said of the others."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from localstack.aws.xray.filters.errors import FilterError
from localstack.aws.xray.filters.parser import MAX_CHARACTERS, MAX_DEPTH, MAX_TERMS, parse
from localstack.aws.xray.filters.syntax import (
    And,
    Annotation,
    Compare,
    Edge,
    Expression,
    Group,
    Has,
    Keyword,
    Not,
    Or,
    RootCause,
    Service,
    ServiceId,
    write,
)
from tests.unit import xray_filter_expressions
from tests.unit.xray_filter_examples import FIELD, GUIDE


def has(name: str) -> Has:
    return Has(Keyword(name))


@pytest.mark.parametrize("text", GUIDE + FIELD)
def test_what_people_write_is_understood(text: str) -> None:
    assert parse(write(parse(text))) == parse(text)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("ok", has("ok")),
        ("OK", has("ok")),
        ("responseTime > 2", Compare(Keyword("responsetime"), ">", 2.0)),
        ("ok !partial duration <3", And((has("ok"), Not(has("partial")), Compare(Keyword("duration"), "<", 3.0)))),
        ("ok or error fault", Or((has("ok"), And((has("error"), has("fault")))))),
        ("ok AND error OR fault", Or((And((has("ok"), has("error"))), has("fault")))),
        ("(ok or error) fault", And((Or((has("ok"), has("error"))), has("fault")))),
        ("!ok error", And((Not(has("ok")), has("error")))),
        ("not (ok error)", Not(And((has("ok"), has("error"))))),
        ("!!ok", Not(Not(has("ok")))),
        ("ok = false", Compare(Keyword("ok"), "=", False)),
        ('ok != "TRUE"', Compare(Keyword("ok"), "!=", True)),
        ("service", Service(ServiceId())),
        ("service()", Service(ServiceId())),
        ('service("a") (ok)', And((Service(ServiceId("a")), has("ok")))),
        ('edge("a")', Edge(ServiceId("a"), ServiceId())),
        ('edge(id(), "b") {ok}', Edge(ServiceId(), ServiceId("b"), has("ok"))),
        ('service(ID(Account.Id: "1", type:"t"))', Service(ServiceId(None, "t", "1"))),
        ("user = alice", Compare(Keyword("user"), "=", "alice")),
        ("user = O'Brien", Compare(Keyword("user"), "=", "O'Brien")),
        ("user = true", Compare(Keyword("user"), "=", "true")),
        ("annotation.a = true", Compare(Annotation("a"), "=", True)),
        ('annotation.a = "true"', Compare(Annotation("a"), "=", "true")),
        ("annotation.Age", Has(Annotation("Age"))),
        ("edge {DESTINATION.Annotation[ A ]}", Edge(ServiceId(), ServiceId(), Has(Annotation("A", "destination")))),
        ("Annotation[ a.b ] = -.5e1", Compare(Annotation("a.b"), "=", -5.0)),
        (r'annotation["a\"] b"]', Has(Annotation('a"] b'))),
        ('group.name != "g"', Not(Group("name", "g"))),
        ("rootcause.fault", RootCause("fault")),
        (r'name = "a\"b\\c\d"', Compare(Keyword("name"), "=", r'a"b\c\d')),
        ('name\n=\n"ü 🚀\n"', Compare(Keyword("name"), "=", "ü 🚀\n")),
    ],
)
def test_trees(text: str, tree: Expression) -> None:
    """Keywords in any case, keys of annotations and values as they are; ! before AND (also unwritten) before OR."""
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "the expression is empty"),
        ("   ", 1, 1, "the expression is empty"),
        ("ok and", 1, 7, "ends too early; expected a keyword, service() or edge()"),
        ("ok =", 1, 5, "ends too early; expected a string in quotation marks, a number or true, false"),
        ("ok))", 1, 3, "unexpected ')'"),
        ("ok\n  }", 2, 3, "unexpected '}'"),
        ('service("a" {', 1, 13, """unexpected '{'; expected ")\""""),
        ("service('a')", 1, 9, 'strings stand in "quotation marks"'),
        ('ok AND service("a', 1, 16, "no closing quotation mark"),
        ("name = 'a'", 1, 8, """unexpected "'a'": strings stand in "quotation marks\""""),
        ("name = “a”", 1, 8, 'strings stand in "quotation marks"'),
        ('annotation["a"b] = 1', 1, 11, 'no closing "]"'),
        ("annotation[" + " " * 9000, 1, 11, 'no closing "]"'),
        ('service(id(account.ıd: "1"))', 1, 12, "expected name, type or account.id"),
        ("edge { deſtination.annotation.a }", 1, 8, "unknown keyword 'deſtination.annotation.a'"),
        ("http.status_code > 3", 1, 1, "unknown keyword 'http.status_code'; expected http.status"),
        ("annotation = 3", 1, 1, "unknown keyword 'annotation'; expected annotation.key"),
        ("ok respnsetime > 3", 1, 4, "expected responsetime"),
        ("http.status contains 3", 1, 1, "a number, cannot be compared with CONTAINS"),
        ('http.status = "200"', 1, 1, "http.status is a number and cannot be compared with the string '200'"),
        ("user = 12", 1, 8, 'a string stands in quotation marks; expected "12"'),
        ('user > "a"', 1, 1, "a string, cannot be compared with >"),
        ("ok = 3", 1, 1, "ok is a boolean"),
        ("ok > true", 1, 1, "a boolean, cannot be compared with >"),
        ('annotation.a < "b"', 1, 1, "annotation[a] and a string cannot be compared with <"),
        ("annotation.a.b = 1", 1, 1, "stands in brackets: annotation[a.b]"),
        ("annotation[ ]", 1, 1, "the annotation key is empty"),
        ("responsetime > 1e999", 1, 16, "too large"),
        ("index > 3", 1, 1, "index has no meaning outside of braces, only inside rootcause"),
        ('service("a") { coverage > 1 }', 1, 16, "no meaning inside service() {}"),
        ('service("a") { service("b") }', 1, 16, "service() speaks of the trace and cannot stand inside service() {}"),
        ("source.annotation[a]", 1, 1, "only inside edge() {}"),
        ("rootcause.fault.entity { annotation.a }", 1, 26, "annotation has no meaning"),
        ("rootcause.fault.servic", 1, 1, "expected rootcause.fault.service"),
        ("rootcause.why", 1, 1, "expected rootcause.json, rootcause.fault"),
        ("rootcause.responsetime.exception {ok}", 1, 1, "no exceptions"),
        ("rootcause.fault { first }", 1, 19, "which element"),
        ('rootcause.json = #[{"Name": "a"}]', 1, 1, "has no member 'Name', only Services, ClientImpacting"),
        ('rootcause.json = #[{"Services": [{"Inferred": "a"}]}]', 1, 1, "is no boolean"),
        ('rootcause.json = #[{"Services": {"Name": "a"}}]', 1, 1, "the member Services of rootcause.json is a list"),
        ("rootcause.json = #[]", 1, 1, "needs a root cause"),
        ("rootcause.json = #[1]", 1, 1, "is a JSON object"),
        (r'rootcause.json = #[{"Services": [{"Name": "\q"}]}]', 1, 43, "is no JSON value"),
        ('group.name > "a"', 1, 12, "group cannot be compared with >; expected = or !="),
        ("group.name = g", 1, 14, "expected a string in quotation marks"),
        ('service(id(name: "a", name: "b"))', 1, 23, "twice"),
        ("service(id(region: 1))", 1, 12, "expected name, type or account.id"),
        ("\ud800", 1, 1, "surrogate"),
        ("ok " * 3400, 1, MAX_CHARACTERS + 1, f"at most {MAX_CHARACTERS} characters"),
        ("ok " * (MAX_TERMS + 1), 1, 3 * MAX_TERMS + 1, f"at most {MAX_TERMS} terms"),
        ("(" * 40 + "ok" + ")" * 40, 1, MAX_DEPTH + 1, f"nested at most {MAX_DEPTH} deep"),
        ("!" * 9000 + "ok", 1, MAX_DEPTH + 1, f"nested at most {MAX_DEPTH} deep"),
        ("!(" * 4000, 1, MAX_DEPTH + 1, f"nested at most {MAX_DEPTH} deep"),
        ("rootcause.json = #" + "[" * 9000, 1, 18 + MAX_DEPTH + 1, f"nested at most {MAX_DEPTH} deep"),
    ],
)
def test_errors_say_where_and_what(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    error = caught.value
    assert (error.code, error.status) == ("InvalidRequestException", 400)
    assert (error.line, error.column) == (line, column)
    assert message in error.message
    assert f"line {line}, column {column}:" in error.message


def test_the_marker_points_at_the_place() -> None:
    with pytest.raises(FilterError) as caught:
        parse("ok AND\n" + "service() " * 20 + 'user = "a" name ~ "b" ' + "ok " * 50)
    shown, marker = caught.value.message.splitlines()[1:]
    assert shown[len(marker) - 1] == "~"
    assert len(shown) < 140


@settings(max_examples=150, deadline=None)
@given(xray_filter_expressions.expressions())
def test_a_written_tree_is_read_as_the_same(tree: Expression) -> None:
    assert parse(write(tree)) == tree


_PIECES = st.one_of(
    st.sampled_from([*GUIDE, *FIELD]).flatmap(lambda text: st.sampled_from(re.findall(r'"[^"]*"|[\w.]+|\W', text))),
    st.sampled_from([*"!(){}[]=<>,:#\"'\\ \n\0-.;", "annotation[", "#[", "id(", "rootcause.", "--", "/*", "ß", "\ud83d", "🚀"]),
    st.text(max_size=5),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_PIECES, max_size=30).map("".join))
@example("rootcause.json = #[" + "{" * 3)
def test_whatever_the_text_it_is_a_tree_or_a_filter_error(text: str) -> None:
    try:
        tree = parse(text)
    except FilterError as error:
        error.message.encode()
        return
    assert parse(write(tree)) == tree
