"""The derivation of the index in SQL: what :mod:`localstack.aws.xray.traces.facts` derives of one trace, for thousands at once.

The documents of the traces that changed become a temporary table of entities, one level of nesting after the other; joins make of it
what the tables of :mod:`localstack.aws.xray.traces.index` hold. A value of a wrong type is absent, never an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import orjson
import pyarrow as pa

from localstack import longtext
from localstack.aws.xray.traces.entities import CALLS
from localstack.aws.xray.traces.facts import AWS_PREFIX, DATABASE_TYPE, MAX_ANNOTATIONS, REMOTE_TYPE, RESOURCES, SERVICES
from localstack.store import registered, row_ranges


@dataclass(frozen=True, slots=True)
class Changed:
    """Traces with a document of the commits after ``after`` up to ``upto``; of these the ``part``-th of ``parts`` parts, from 0."""

    after: int
    upto: int
    parts: int = 1
    part: int = 0

    def halves(self) -> tuple[Changed, Changed]:
        """The same traces in two parts."""
        return (
            Changed(self.after, self.upto, 2 * self.parts, self.part),
            Changed(self.after, self.upto, 2 * self.parts, self.part + self.parts),
        )


#: What is read of a document or an embedded subsegment. JSON keeps a value as it was written, so that its type can be told:
#: a cast would make a name of the number 5.
_ENTITY = {
    "id": "JSON",
    "name": "JSON",
    "origin": "JSON",
    "namespace": "JSON",
    "user": "JSON",
    "resource_arn": "JSON",
    "start_time": "DOUBLE",
    "end_time": "DOUBLE",
    "in_progress": "JSON",
    "error": "JSON",
    "fault": "JSON",
    "throttle": "JSON",
    "http": {
        "request": {"url": "JSON", "method": "JSON", "user_agent": "JSON", "client_ip": "JSON"},
        "response": {"status": "JSON"},
    },
    "aws": {
        "account_id": "JSON",
        "ec2": {"availability_zone": "JSON", "instance_id": "JSON"},
        **{resource.member: "JSON" for resource in RESOURCES},
    },
    "sql": "JSON",
    "annotations": "MAP(VARCHAR, JSON)",
    "cause": {"exceptions": ["JSON"]},
    "subsegments": ["JSON"],
}
_EXCEPTION = {"type": "JSON", "message": "JSON", "remote": "JSON"}


#: Characters of a text that are indexed: a URL, a message, an annotation's value. Of the latter X-Ray takes 1,000.
MAX_INDEXED = 2_000


def _transform(json: str, structure: object) -> str:
    return f"json_transform({json}, '{orjson.dumps(structure).decode()}')"


def _text(json: str) -> str:
    """The text of a JSON value that is a string, as far as it is indexed, else NULL."""
    return f"""CASE WHEN starts_with({json}::VARCHAR, '"') THEN left(json_extract_string({json}::VARCHAR, '$'), {MAX_INDEXED}) END"""


def _integer(json: str) -> str:
    """A JSON value that is a whole number of 31 bits, else NULL."""
    return f"CASE WHEN regexp_full_match({json}::VARCHAR, '[0-9]+') THEN TRY_CAST({json}::VARCHAR AS INTEGER) END"


def _true(json: str) -> str:
    return f"coalesce({json}::VARCHAR = 'true', false)"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


#: The columns of an entity that stand in its own JSON, which is called e, beside its name.
_COLUMNS = ",\n".join(
    f"{expression} AS {name}"
    for name, expression in {
        "type": _text("e.origin"),
        "account_id": _text("e.aws.account_id"),
        "namespace": _text("e.namespace"),
        "error": _true("e.error"),
        "fault": _true("e.fault"),
        "throttle": _true("e.throttle"),
        "http_url": _text("e.http.request.url"),
        "http_method": _text("e.http.request.method"),
        "http_status": _integer("e.http.response.status"),
        "http_useragent": _text("e.http.request.user_agent"),
        "http_clientip": _text("e.http.request.client_ip"),
        "user_name": _text("e.user"),
        "availability_zone": _text("e.aws.ec2.availability_zone"),
        "instance_id": _text("e.aws.ec2.instance_id"),
        "resource_arn": _text("e.resource_arn"),
        "aws": "e.aws",
        "sql": "e.sql",
        "annotations": "e.annotations",
        "exceptions": "e.cause.exceptions",
        "subsegments": "e.subsegments",
        "embedded": "coalesce(len(e.subsegments), 0)",
    }.items()
)


def _flags(row: str) -> str:
    flags = f"{row}.error, {row}.fault, {row}.throttle"
    return f"{row}.end_time IS NOT NULL AND NOT ({row}.error OR {row}.fault OR {row}.throttle) AS ok, {flags}"


def _http(row: str) -> str:
    return ", ".join(f"{row}.http_{member}" for member in ("url", "method", "status", "useragent", "clientip"))


#: When a trace began: as far as what came first knows, so that it never changes. The key is one number, which is quicker than two.
BEGAN = "arg_min(trace_time, first_commit::HUGEINT * 10_000_000_000_000_000 + (trace_time * 1_000_000)::HUGEINT)"

#: The traces to derive: those of the commits in question, or a part of them.
_DIRTY = """
    CREATE OR REPLACE TEMP TABLE derived_dirty AS
    SELECT DISTINCT trace FROM segment WHERE changed_commit > $after AND changed_commit <= $upto AND hash(trace) % $parts = $part
"""


def _documents(rows: str) -> str:
    """Their documents, each an entity of level 0. What was checked and kept in columns is taken from there."""
    return f"""
    SELECT trace, bytes, id_bits AS document, 0 AS level, id_bits AS id, TRY_CAST('0x' || parent_id AS UBIGINT) AS parent,
           NOT independent AS segment, trace_time, first_commit, name, start_time, end_time, {_COLUMNS}
    FROM (
        SELECT trace, bytes, id_bits, parent_id, independent, trace_time, first_commit, name, start_time, end_time,
               {_transform("document", _ENTITY)} AS e
        FROM ({rows}) WHERE trace IN (FROM derived_dirty) AND rowid BETWEEN $first AND $last
    )
"""


_SHORT = _documents("SELECT rowid, * FROM segment WHERE long_text IS NULL")
#: What is embedded one level below. An independent subsegment takes the place of what its parent held of it.
_EMBEDDED = f"""
    INSERT INTO derived_entity BY NAME
    WITH embedded AS (
        SELECT trace, document, id AS parent, strlen(child::VARCHAR) AS bytes, {_transform("child", _ENTITY)} AS e
        FROM (
            SELECT trace, document, id, unnest(subsegments) AS child
            FROM derived_entity WHERE level = $level AND rowid BETWEEN $first AND $last
        )
        WHERE starts_with(child::VARCHAR, '{{')
    ), identified AS (
        SELECT *, TRY_CAST('0x' || {_text("e.id")} AS UBIGINT) AS id, {_text("e.name")} AS name FROM embedded
    )
    SELECT trace, bytes, document, $level + 1 AS level, id, parent, false AS segment, NULL AS trace_time, NULL AS first_commit,
           name, e.start_time, CASE WHEN {_true("e.in_progress")} THEN NULL ELSE e.end_time END AS end_time, {_COLUMNS}
    FROM identified ANTI JOIN (SELECT trace, id, parent FROM derived_entity WHERE level = 0 AND NOT segment) sent USING (trace, id, parent)
    WHERE id IS NOT NULL AND name IS NOT NULL AND e.start_time IS NOT NULL
"""

#: The segment each document belongs to. From the segments downwards, so that subsegments that are each other's parents belong nowhere.
_OWNERS = """
    CREATE OR REPLACE TEMP TABLE derived_owner AS
    WITH RECURSIVE attached AS (
        SELECT sent.trace, sent.document, arg_min(held.document, held.level) AS parent
        FROM derived_entity sent JOIN derived_entity held ON held.trace = sent.trace AND held.id = sent.parent
        WHERE sent.level = 0 AND NOT sent.segment
        GROUP BY sent.trace, sent.document
    ), owned AS (
        SELECT trace, document, id AS owner FROM derived_entity WHERE segment
        UNION ALL
        SELECT attached.trace, attached.document, owned.owner
        FROM owned JOIN attached ON attached.trace = owned.trace AND attached.parent = owned.document
    )
    FROM owned
"""


def _inferred() -> str:
    """What a call leads to: SQL of the columns inferred_name and inferred_type."""
    names, types = [], []
    for resource in RESOURCES:
        member, pattern = _text(f"aws.{resource.member}"), _quoted(resource.name)
        names.append(f"WHEN namespace = 'aws' AND regexp_matches({member}, {pattern}) THEN regexp_extract({member}, {pattern}, 1)")
        types.append(f"WHEN namespace = 'aws' AND regexp_matches({member}, {pattern}) THEN {_quoted(resource.type)}")
    services = " ".join(f"WHEN {_quoted(written)} THEN {_quoted(AWS_PREFIX + ours)}" for written, ours in SERVICES.items())
    return f"""
        CASE {" ".join(names)} ELSE name END AS inferred_name,
        CASE {" ".join(types)}
             WHEN namespace = 'aws' THEN CASE lower(name) {services} ELSE {_quoted(AWS_PREFIX)} || name END
             WHEN starts_with(sql::VARCHAR, '{{') THEN {_quoted(DATABASE_TYPE)} ELSE {_quoted(REMOTE_TYPE)} END AS inferred_type"""


#: Subsegments that called something, and what that is.
_CALLS = f"""
    CREATE OR REPLACE TEMP TABLE derived_call AS
    SELECT trace, document, level, id, owner, account_id, start_time, end_time, error, fault, throttle, {_http("call")},
           {_inferred()}
    FROM derived_entity call LEFT JOIN derived_owner USING (trace, document)
    WHERE NOT segment AND namespace IN ({", ".join(map(_quoted, CALLS))})
"""

#: Segments with what their parent says of them: caller is the segment that called, called_* what it saw, where the parent is a call.
_SEGMENTS = """
    CREATE OR REPLACE TEMP TABLE derived_segment AS
    WITH parent AS (
        SELECT trace, document, level, id, segment, owner
        FROM (SELECT trace, document, level, id, segment FROM derived_entity) held
        SEMI JOIN (SELECT trace, parent AS id FROM derived_entity WHERE segment AND parent IS NOT NULL) USING (trace, id)
        LEFT JOIN derived_owner USING (trace, document)
        QUALIFY row_number() OVER (PARTITION BY trace, id ORDER BY NOT segment, owner IS NULL, level, document) = 1
    )
    SELECT segment.*, parent.id IS NULL AS entry, parent.owner AS caller, CASE WHEN NOT parent.segment THEN parent.id END AS via,
           call.id IS NOT NULL AS called, call.inferred_name AS called_name, call.inferred_type AS called_type,
           call.start_time AS called_start, call.end_time AS called_end,
           call.error AS called_error, call.fault AS called_fault, call.throttle AS called_throttle
    FROM (SELECT * EXCLUDE (aws, sql, annotations, exceptions, subsegments) FROM derived_entity WHERE segment) segment
    LEFT JOIN parent ON parent.trace = segment.trace AND parent.id = segment.parent
    LEFT JOIN derived_call call
           ON call.trace = parent.trace AND call.document = parent.document AND call.level = parent.level AND call.id = parent.id
"""

#: Calls of a segment that no segment answers for.
_UNANSWERED = """
    DELETE FROM derived_call call
    WHERE owner IS NULL OR EXISTS (FROM derived_segment WHERE derived_segment.trace = call.trace AND derived_segment.parent = call.id)
"""

_TRACES = f"""
    CREATE OR REPLACE TEMP TABLE derived_trace AS
    WITH whole AS (
        SELECT trace, '1-' || replace(trace::VARCHAR, '-', '') AS digits,
               {BEGAN} AS began, min(first_commit) AS first_commit,
               min(start_time) AS start_time, coalesce(max(end_time), min(start_time)) AS end_time,
               bool_or(segment AND throttle) AS throttle, bool_or(end_time IS NULL) AS partial
        FROM derived_entity WHERE level = 0 GROUP BY trace
    ), root AS (
        SELECT trace, id, start_time, end_time, {_flags("segment")}, {_http("segment")}
        FROM derived_segment segment
        QUALIFY row_number() OVER (PARTITION BY trace ORDER BY NOT entry, start_time, id) = 1
    )
    SELECT whole.trace, digits[:10] || '-' || digits[11:] AS trace_id, began, first_commit,
           whole.start_time, whole.end_time, greatest(whole.end_time - whole.start_time, 0) AS duration,
           root.id AS root, CASE WHEN root.end_time IS NOT NULL THEN greatest(root.end_time - root.start_time, 0) END AS response_time,
           coalesce(ok, false) AS ok, coalesce(error, false) AS error, coalesce(fault, false) AS fault, whole.throttle,
           partial, {_http("root")}
    FROM whole LEFT JOIN root ON root.trace = whole.trace
"""

_NODES = f"""
    INSERT INTO xray_node BY NAME
    WITH work AS (
        SELECT trace, owner AS id, max(end_time) AS last_end
        FROM (SELECT trace, document, end_time FROM derived_entity WHERE NOT segment) JOIN derived_owner USING (trace, document)
        GROUP BY trace, owner
    )
    SELECT trace, began, segment.id, segment.name, segment.type, segment.account_id, false AS inferred, entry,
           segment.start_time, segment.end_time, {_flags("segment")}, {_http("segment")},
           user_name, availability_zone, instance_id, resource_arn,
           CASE WHEN segment.end_time IS NOT NULL THEN greatest(segment.end_time, last_end) END AS work_end
    FROM derived_segment segment JOIN (SELECT trace, began FROM derived_trace) USING (trace) LEFT JOIN work USING (trace, id)
    UNION ALL BY NAME
    SELECT trace, began, call.id, inferred_name AS name, inferred_type AS type, account_id, true AS inferred, false AS entry,
           call.start_time, call.end_time, {_flags("call")}, {_http("call")}, call.end_time AS work_end
    FROM derived_call call JOIN (SELECT trace, began FROM derived_trace) USING (trace)
"""

_EDGES = f"""
    INSERT INTO xray_edge BY NAME
    WITH edge AS (
        SELECT trace, caller AS source, id AS target, via, name AS target_name, type AS target_type, account_id AS target_account_id,
               CASE WHEN called THEN called_name END AS alias_name, CASE WHEN called THEN called_type END AS alias_type,
               CASE WHEN called THEN called_start ELSE start_time END AS start_time,
               CASE WHEN called THEN called_end ELSE end_time END AS end_time,
               CASE WHEN called THEN called_error ELSE error END AS error,
               CASE WHEN called THEN called_fault ELSE fault END AS fault,
               CASE WHEN called THEN called_throttle ELSE throttle END AS throttle
        FROM derived_segment WHERE entry OR caller IS NOT NULL
        UNION ALL BY NAME
        SELECT trace, owner AS source, id AS target, id AS via, inferred_name AS target_name, inferred_type AS target_type,
               account_id AS target_account_id, start_time, end_time, error, fault, throttle
        FROM derived_call
    )
    SELECT edge.* EXCLUDE (error, fault, throttle), {_flags("edge")}, began,
           caller.name AS source_name, caller.type AS source_type, caller.account_id AS source_account_id
    FROM edge JOIN (SELECT trace, began FROM derived_trace) USING (trace)
    LEFT JOIN (SELECT trace, id, name, type, account_id FROM derived_segment) caller
           ON caller.trace = edge.trace AND caller.id = edge.source
"""

_ANNOTATIONS = f"""
    INSERT INTO xray_annotation BY NAME
    WITH listed AS (
        SELECT trace, document, id, start_time,
               unnest(map_entries(annotations)) AS entry, generate_subscripts(map_keys(annotations), 1) AS position
        FROM derived_entity WHERE annotations IS NOT NULL
    ), typed AS (
        SELECT trace, document, id, start_time, position, left(entry.key, {MAX_INDEXED}) AS key, {_text("entry.value")} AS string_value,
               CASE WHEN regexp_matches(entry.value::VARCHAR, '^[-0-9]') THEN TRY_CAST(entry.value::VARCHAR AS DOUBLE) END AS number_value,
               CASE entry.value::VARCHAR WHEN 'true' THEN true WHEN 'false' THEN false END AS boolean_value
        FROM listed
    )
    SELECT trace, began, owner AS node, key, string_value, number_value, boolean_value
    FROM typed JOIN (SELECT trace, began FROM derived_trace) USING (trace) LEFT JOIN derived_owner USING (trace, document)
    WHERE string_value IS NOT NULL OR number_value IS NOT NULL OR boolean_value IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY trace ORDER BY start_time, id, position) <= {MAX_ANNOTATIONS}
"""

_FAILURES = f"""
    INSERT INTO xray_failure BY NAME
    SELECT trace, began, owner AS node, id AS entity,
           {_text("e.type")} AS name, {_text("e.message")} AS message, {_true("e.remote")} AS remote
    FROM (
        SELECT trace, document, id, {_transform("exception", _EXCEPTION)} AS e
        FROM (SELECT trace, document, id, unnest(exceptions) AS exception FROM derived_entity WHERE exceptions IS NOT NULL)
        WHERE starts_with(exception::VARCHAR, '{{')
    )
    JOIN (SELECT trace, began FROM derived_trace) USING (trace) LEFT JOIN derived_owner USING (trace, document)
"""

_TABLES = ("xray_trace", "xray_node", "xray_edge", "xray_annotation", "xray_failure")
_TEMPORARY = ("derived_dirty", "derived_entity", "derived_owner", "derived_segment", "derived_call", "derived_trace")


#: What ``sparing`` reads of a table at once, in bytes of JSON.
_RANGE_BYTES = 2 * 1024 * 1024
_EVERYTHING = [(0, 2**63 - 1)]


def derive(db: duckdb.DuckDBPyConnection, changed: Changed, sparing: bool = False) -> None:
    """Derive the traces that changed again, as a whole, within a transaction of the caller's.

    ``sparing``: with little memory, whatever the size of the documents; slower.
    """
    db.execute(_DIRTY, {"after": changed.after, "upto": changed.upto, "parts": changed.parts, "part": changed.part})
    ((first, last),) = db.execute("SELECT min(began), max(began) FROM xray_trace WHERE trace IN (FROM derived_dirty)").fetchall()
    if first is not None:
        for table in _TABLES:
            db.execute(f"DELETE FROM {table} WHERE trace IN (FROM derived_dirty) AND began BETWEEN ? AND ?", [first, last])
    short = "CASE WHEN long_text IS NULL THEN bytes ELSE 0 END"
    ranges = _ranges(db, "segment WHERE trace IN (FROM derived_dirty)", short) if sparing else _EVERYTHING
    into = "CREATE OR REPLACE TEMP TABLE derived_entity AS"
    # Nothing has changed, it may be: the table is needed all the same.
    for first, last in ranges or _EVERYTHING:
        db.execute(f"{into} {_SHORT}", {"first": first, "last": last})
        into = "INSERT INTO derived_entity BY NAME"
    for numbers in _long(db):
        texts = longtext.whole(db, numbers)
        table = pa.table({"number": pa.array(texts.keys(), pa.int64()), "text": pa.array(texts.values(), pa.string())})
        with registered(db, table) as view:
            beside = f"SELECT segment.rowid, segment.* REPLACE (text AS document) FROM segment JOIN {view} ON number = long_text"
            first, last = _EVERYTHING[0]
            db.execute(f"{into} {_documents(beside)}", {"first": first, "last": last})
    level = 0
    while db.execute("SELECT 1 FROM derived_entity WHERE level = ? AND embedded > 0 LIMIT 1", [level]).fetchall():
        ranges = _ranges(db, f"derived_entity WHERE level = {level} AND embedded > 0") if sparing else _EVERYTHING
        for first, last in ranges:
            db.execute(_EMBEDDED, {"level": level, "first": first, "last": last})
        level += 1
    for statement in (_OWNERS, _CALLS, _SEGMENTS, _UNANSWERED, _TRACES):
        db.execute(statement)
    db.execute("INSERT INTO xray_trace BY NAME FROM derived_trace")
    for statement in (_NODES, _EDGES, _ANNOTATIONS, _FAILURES):
        db.execute(statement)
    for name in _TEMPORARY:
        db.execute(f"DROP TABLE {name}")


def _ranges(db: duckdb.DuckDBPyConnection, rows: str, size: str = "bytes") -> list[tuple[int, int]]:
    return row_ranges(db.execute(f"SELECT rowid, {size} FROM {rows} ORDER BY rowid").fetchall(), _RANGE_BYTES)


def _long(db: duckdb.DuckDBPyConnection) -> Iterator[list[int]]:
    """The numbers of the long documents, some at a time: wherever their rows are, as these hold nothing of them."""
    some: list[int] = []
    room = _RANGE_BYTES
    query = "SELECT long_text, bytes FROM segment WHERE trace IN (FROM derived_dirty) AND long_text IS NOT NULL ORDER BY long_text"
    for number, size in db.execute(query).fetchall():
        if some and size > room:
            yield some
            some, room = [], _RANGE_BYTES
        some.append(number)
        room -= size
    if some:
        yield some
