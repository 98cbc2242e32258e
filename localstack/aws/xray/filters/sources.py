"""Where the index has what a keyword speaks of, in each scope. The names of tables and columns that filters use stand here."""

from __future__ import annotations

from dataclasses import dataclass

from localstack.aws.xray.filters.keywords import Scope

#: Seconds are compared as the summaries show them.
DECIMALS = 3

#: The name a row of each table goes by.
ALIASES = {
    "xray_trace": "t",
    "xray_node": "n",
    "xray_edge": "e",
    "xray_annotation": "a",
    "xray_failure": "f",
    "xray_root_cause": "r",
    "xray_root_cause_element": "c",
}


@dataclass(frozen=True, slots=True)
class Own:
    """A value of the row the scope is about."""

    sql: str


@dataclass(frozen=True, slots=True)
class Other:
    """Values of other rows: of those in ``table`` whose columns ``key`` are the row's ``row``, and for which ``where`` holds."""

    table: str
    row: tuple[str, ...]
    key: tuple[str, ...]
    column: str
    where: str = ""


Source = Own | Other

_TRACE = ("t.trace",)
_NODE = ("n.trace", "n.id")
_TARGET = ("e.trace", "e.target")
_ORIGIN = ("e.trace", "e.source")

_HTTP = {f"http.{name}": f"http_{name}" for name in ("url", "method", "status", "useragent", "clientip")}
_SEGMENT = {
    "user": "user_name",
    "availabilityzone": "availability_zone",
    "instance.id": "instance_id",
    "resource.arn": "resource_arn",
}


def _flags(alias: str) -> dict[str, tuple[Source, ...]]:
    return {name: (Own(f"{alias}.{name}"),) for name in ("ok", "error", "fault", "throttle")}


def _seconds(value: str) -> tuple[Source, ...]:
    return (Own(f"round({value}, {DECIMALS})"),)


def _between(start: str, end: str) -> tuple[Source, ...]:
    # greatest() passes over NULL: what is in progress would have taken no time.
    return _seconds(f"CASE WHEN {end} >= {start} THEN {end} - {start} WHEN {end} < {start} THEN 0 END")


def _took(alias: str, ended: str) -> dict[str, tuple[Source, ...]]:
    return {
        "responsetime": _between(f"{alias}.start_time", f"{alias}.end_time"),
        "duration": _between(f"{alias}.start_time", f"{alias}.{ended}"),
        "partial": (Own(f"({alias}.end_time IS NULL)"),),
    }


def _nodes(column: str, where: str = "") -> Other:
    """A column of any node of the trace."""
    return Other("xray_node", _TRACE, ("trace",), f"n.{column}", where)


def _target(column: str) -> tuple[Source, ...]:
    """A column of the node an edge leads to."""
    return (Other("xray_node", _TARGET, ("trace", "id"), f"n.{column}"),)


def _root(row: tuple[str, ...]) -> tuple[Source, ...]:
    return (Other("xray_trace", row, ("trace", "root"), "(t.root IS NOT NULL)"),)


def _message(row: tuple[str, ...]) -> tuple[Source, ...]:
    return (Other("xray_failure", row, ("trace", "node"), "f.message", "f.node IS NOT NULL"),)


_PLACE: dict[str, tuple[Source, ...]] = {
    "first": (Own("(c.position = 0)"),),
    "last": (Own("c.last"),),
    "index": (Own("c.position"),),
}

#: The sources of each keyword; of several, a value in any of them.
SOURCES: dict[Scope, dict[str, tuple[Source, ...]]] = {
    "trace": _flags("t")
    | {
        "partial": (Own("t.partial"),),
        "inferred": (_nodes("inferred"),),
        "root": (Own("(t.root IS NOT NULL)"),),
        "responsetime": _seconds("t.response_time"),
        "duration": _seconds("t.duration"),
        "name": (_nodes("name"), Other("xray_failure", _TRACE, ("trace",), "f.name")),
        "type": (_nodes("type"),),
        "message": (Other("xray_failure", _TRACE, ("trace",), "f.message"),),
    }
    | {keyword: (Own(f"t.{column}"),) for keyword, column in _HTTP.items()}
    | {keyword: (_nodes(column),) for keyword, column in _SEGMENT.items()},
    "service": _flags("n")
    | _took("n", "work_end")
    | {
        "inferred": (Own("n.inferred"),),
        "root": _root(_NODE),
        "name": (Own("n.name"),),
        "type": (Own("n.type"),),
        "message": _message(_NODE),
    }
    | {keyword: (Own(f"n.{column}"),) for keyword, column in (_HTTP | _SEGMENT).items()},
    "edge": _flags("e")
    | _took("e", "end_time")
    | {
        "inferred": _target("inferred"),
        "root": _root(_TARGET),
        "name": (Own("e.target_name"),),
        "type": (Own("e.target_type"),),
        "message": _message(_TARGET),
    }
    | {keyword: _target(column) for keyword, column in (_HTTP | _SEGMENT).items()},
    "cause service": _PLACE | {name: (Own(f"c.{name}"),) for name in ("name", "type", "inferred")},
    "cause entity": _PLACE | {name: (Own(f"c.{name}"),) for name in ("name", "remote", "coverage")},
    "cause exception": _PLACE | {name: (Own(f"c.{name}"),) for name in ("name", "message")},
}


def _annotations(row: tuple[str, ...]) -> Other:
    key, where = (("trace",), "") if row == _TRACE else (("trace", "node"), "a.node IS NOT NULL")
    return Other("xray_annotation", row, key, "", where)


#: Whose annotations are meant, by scope and end of the edge; the column depends on the type of the value.
ANNOTATIONS: dict[tuple[Scope, str | None], Other] = {
    ("trace", None): _annotations(_TRACE),
    ("service", None): _annotations(_NODE),
    ("edge", None): _annotations(_TARGET),
    ("edge", "destination"): _annotations(_TARGET),
    ("edge", "source"): _annotations(_ORIGIN),
}
