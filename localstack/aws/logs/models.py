"""The state of CloudWatch Logs. Knows no HTTP. All times are milliseconds since the epoch.

Source: the API reference of CloudWatch Logs; limits from PutLogEvents and FilterLogEvents there, and from "CloudWatch Logs quotas".
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from localstack import longtext
from localstack.aws import tags
from localstack.aws.accounts import ACCOUNT_ID
from localstack.aws.errors import AwsError
from localstack.aws.tokens import make_token, read_token
from localstack.store import Store, registered

SCHEMA = (
    """CREATE TABLE log_group (
        id BIGINT NOT NULL, name VARCHAR PRIMARY KEY, created BIGINT NOT NULL, retention_days INTEGER,
        class VARCHAR NOT NULL, kms_key VARCHAR, protected BOOLEAN NOT NULL
    )""",
    "CREATE TABLE log_stream (id BIGINT NOT NULL, group_id BIGINT NOT NULL, name VARCHAR NOT NULL, created BIGINT NOT NULL)",
    """CREATE TABLE log_event (
        id BIGINT NOT NULL,                -- grows from commit to commit
        group_id BIGINT NOT NULL, stream_id BIGINT NOT NULL,
        timestamp BIGINT NOT NULL, ingestion BIGINT NOT NULL,
        size INTEGER NOT NULL,             -- bytes of UTF-8, of a long message too
        message VARCHAR NOT NULL
    )""",
)

#: Long messages are beside their events.
LONG_MESSAGES = longtext.moved("log_event", "message")

#: "The maximum batch size is 1,048,576 bytes … plus 26 bytes for each log event."
MAX_BATCH_BYTES = 1_048_576
EVENT_OVERHEAD_BYTES = 26
#: "Each log event can be no larger than 1 MB" (256 KB before April 2025).
MAX_EVENT_BYTES = 1_048_576
MAX_AGE_MS = 14 * 24 * 3600 * 1000
MAX_AHEAD_MS = 2 * 3600 * 1000
MAX_SPAN_MS = 24 * 3600 * 1000
#: A page of events: "up to 1 MB or up to 10,000 log events".
PAGE_BYTES = 1_048_576
PAGE_EVENTS = 10_000
PAGE_NAMES = 50

DAY_MS = 24 * 3600 * 1000

RETENTION_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)


@dataclass(frozen=True, slots=True)
class Group:
    id: int
    name: str
    created: int
    retention_days: int | None
    log_class: str
    kms_key: str | None
    protected: bool


@dataclass(frozen=True, slots=True)
class Stream:
    id: int
    group_id: int
    name: str
    created: int


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """A stream with the times of its events; None where it has none."""

    stream: Stream
    first: int | None
    last: int | None
    last_ingestion: int | None


@dataclass(frozen=True, slots=True)
class Event:
    id: int
    stream: str
    timestamp: int
    ingestion: int
    message: str


@dataclass(frozen=True, slots=True)
class RejectedEvents:
    """Which events of a batch were not stored, as rejectedLogEventsInfo says it: end indexes are exclusive."""

    too_old_end: int | None
    expired_end: int | None
    too_new_start: int | None


@dataclass(frozen=True, slots=True)
class EventPage:
    events: list[Event]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class StreamPage:
    """Events of one stream with the tokens to read on in either direction."""

    events: list[Event]
    forward_token: str
    backward_token: str


class Logs:
    """CloudWatch Logs of one account in one region."""

    def __init__(self, store: Store, region: str) -> None:
        self._store = store
        self._arn = f"arn:aws:logs:{region}:{ACCOUNT_ID}:log-group:"
        # Where PutLogEvents goes, by names: it is the hot path. Emptied when anything is deleted or changed.
        self._targets: dict[tuple[str, str], tuple[Group, Stream]] = {}
        self._changes = 0
        self._lock = threading.Lock()

    # -- names

    def group_arn(self, name: str) -> str:
        return self._arn + name

    def stream_arn(self, group: str, name: str) -> str:
        return f"{self._arn}{group}:log-stream:{name}"

    def resolve(self, name: str | None, identifier: str | None) -> str:
        """The group's name from logGroupName or logGroupIdentifier (a name or an ARN), of which a call gives one."""
        if (name is None) == (identifier is None):
            raise AwsError("InvalidParameterException", "Specify either logGroupName or logGroupIdentifier")
        if name is not None:
            return name
        assert identifier is not None
        return identifier.removeprefix(self._arn).removesuffix(":*")

    # -- groups

    def create_group(self, name: str, log_class: str, kms_key: str | None, protected: bool, tagged: Mapping[str, str]) -> None:
        if name.startswith("aws/"):
            raise AwsError("InvalidParameterException", "Log groups starting with AWS/ are reserved for AWS")

        def work(db: duckdb.DuckDBPyConnection) -> None:
            if db.execute("SELECT 1 FROM log_group WHERE name = ?", [name]).fetchall():
                raise AwsError("ResourceAlreadyExistsException", "The specified log group already exists")
            db.execute(
                "INSERT INTO log_group SELECT coalesce(max(id), 0) + 1, ?, ?, NULL, ?, ?, ? FROM log_group",
                [name, _now(), log_class, kms_key, protected],
            )
            if tagged:
                tags.change(db, self.group_arn(name), dict(tagged))

        self._store.transact(work)

    def delete_group(self, name: str) -> None:
        def work(db: duckdb.DuckDBPyConnection) -> None:
            group = _group(db, name)
            if group.protected:
                raise AwsError("ValidationException", f"The log group {name} has deletion protection enabled")
            longtext.delete(db, "log_event WHERE group_id = ?", parameters=[group.id])
            db.execute("DELETE FROM log_event WHERE group_id = ?", [group.id])
            db.execute("DELETE FROM log_stream WHERE group_id = ?", [group.id])
            db.execute("DELETE FROM log_group WHERE id = ?", [group.id])
            tags.forget(db, self.group_arn(name))

        self._store.transact(work)
        self._forget_targets()

    def groups(
        self,
        prefix: str | None,
        pattern: str | None,
        log_class: str | None,
        identifiers: Sequence[str] | None,
        limit: int | None,
        token: str | None,
    ) -> tuple[list[tuple[Group, int]], str | None]:
        """Groups by name with the bytes stored in each, and the token of the next page."""
        if prefix is not None and pattern is not None:
            raise AwsError("InvalidParameterException", "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
        names = [self.resolve(None, identifier) for identifier in identifiers or []]
        query = ("groups", prefix, pattern, log_class, names)
        after = _position(token, query, (str,)) or [""]
        count = limit or PAGE_NAMES
        rows = self._store.read(
            f"""
            SELECT {_GROUP}, (SELECT coalesce(sum(size + {EVENT_OVERHEAD_BYTES}), 0) FROM log_event WHERE group_id = log_group.id)
            FROM log_group
            WHERE name > $after AND starts_with(name, $prefix) AND contains(name, $pattern)
              AND ($class IS NULL OR class = $class) AND ($every OR list_contains($names, name))
            ORDER BY name LIMIT {count + 1}
            """,
            {
                "after": after[0],
                "prefix": prefix or "",
                "pattern": pattern or "",
                "class": log_class,
                "every": not names,
                "names": names or [""],
            },
        )
        page = [(Group(*row[:-1]), int(row[-1])) for row in rows[:count]]
        return page, make_token([page[-1][0].name], query) if len(rows) > count else None

    def set_retention(self, name: str, days: int | None) -> None:
        """Keep a group's events for ``days``; None for ever."""
        if days is not None and days not in RETENTION_DAYS:
            raise AwsError("InvalidParameterException", f"retentionInDays must be one of {', '.join(map(str, RETENTION_DAYS))}, not {days}")

        def work(db: duckdb.DuckDBPyConnection) -> None:
            group = _group(db, name)
            db.execute("UPDATE log_group SET retention_days = ? WHERE id = ?", [days, group.id])

        self._store.transact(work)
        self._forget_targets()

    # -- streams

    def create_stream(self, group_name: str, name: str) -> None:
        def work(db: duckdb.DuckDBPyConnection) -> None:
            group = _group(db, group_name)
            if db.execute("SELECT 1 FROM log_stream WHERE group_id = ? AND name = ?", [group.id, name]).fetchall():
                raise AwsError("ResourceAlreadyExistsException", "The specified log stream already exists")
            db.execute("INSERT INTO log_stream SELECT coalesce(max(id), 0) + 1, ?, ?, ? FROM log_stream", [group.id, name, _now()])

        self._store.transact(work)

    def delete_stream(self, group_name: str, name: str) -> None:
        def work(db: duckdb.DuckDBPyConnection) -> None:
            stream = _stream(db, _group(db, group_name), name)
            longtext.delete(db, "log_event WHERE stream_id = ?", parameters=[stream.id])
            db.execute("DELETE FROM log_event WHERE stream_id = ?", [stream.id])
            db.execute("DELETE FROM log_stream WHERE id = ?", [stream.id])

        self._store.transact(work)
        self._forget_targets()

    def streams(
        self, group_name: str, prefix: str | None, by_time: bool, descending: bool, limit: int | None, token: str | None
    ) -> tuple[list[StreamStatistics], str | None]:
        """Streams by name, or by the time of their last event, and the token of the next page."""
        if by_time and prefix is not None:
            raise AwsError("InvalidParameterException", "Cannot order by LastEventTime with a logStreamNamePrefix.")
        group = _group(self._store.cursor(), group_name)
        query = ("streams", group.id, prefix, by_time, descending)
        position = _position(token, query, (int,))
        start = position[0] if position else 0
        count = limit or PAGE_NAMES
        direction = "DESC" if descending else "ASC"
        order = f"coalesce(max(timestamp), 0) {direction}, name" if by_time else f"name {direction}"
        rows = self._store.read(
            f"""
            SELECT s.id, s.group_id, s.name, s.created, min(timestamp), max(timestamp), max(ingestion)
            FROM log_stream s LEFT JOIN log_event e ON e.stream_id = s.id
            WHERE s.group_id = ? AND starts_with(s.name, ?)
            GROUP BY ALL ORDER BY {order} LIMIT {count + 1} OFFSET {start}
            """,
            [group.id, prefix or ""],
        )
        page = [StreamStatistics(Stream(*row[:4]), *row[4:]) for row in rows[:count]]
        return page, make_token([start + count], query) if len(rows) > count else None

    # -- events

    def put(self, group_name: str, stream_name: str, events: Sequence[tuple[int, str]]) -> RejectedEvents | None:
        """Store events ``(timestamp, message)``; returns when they are committed, with what was refused by its time."""
        group, stream = self._target(group_name, stream_name)
        now = _now()
        sizes = [len(message.encode()) for _, message in events]
        for index, size in enumerate(sizes):
            if size > MAX_EVENT_BYTES:
                raise AwsError(
                    "InvalidParameterException", f"Log event too large: event {index} has {size} bytes, the limit is {MAX_EVENT_BYTES}"
                )
        total = sum(sizes) + EVENT_OVERHEAD_BYTES * len(events)
        if total > MAX_BATCH_BYTES:
            raise AwsError("InvalidParameterException", f"Upload too large: {total} bytes exceeds limit of {MAX_BATCH_BYTES}")
        times = [timestamp for timestamp, _ in events]
        if any(later < earlier for earlier, later in itertools.pairwise(times)):
            raise AwsError("InvalidParameterException", "Log events in a single PutLogEvents request must be in chronological order.")
        too_old_end = _first_at_or_after(times, now - MAX_AGE_MS)
        expired_end = _first_at_or_after(times, now - group.retention_days * DAY_MS) if group.retention_days else 0
        too_new_start = next((index for index, timestamp in enumerate(times) if timestamp > now + MAX_AHEAD_MS), len(times))
        first = max(too_old_end, expired_end)
        accepted = times[first:too_new_start]
        if accepted and accepted[-1] - accepted[0] > MAX_SPAN_MS:
            raise AwsError(
                "InvalidParameterException", "The batch of log events in a single PutLogEvents request cannot span more than 24 hours."
            )
        if accepted:
            count = len(accepted)
            messages, long, parts = longtext.split([message for _, message in events[first:too_new_start]])
            self._store.append(
                {
                    "long_text": parts,
                    "log_event": pa.table(
                        {
                            "group_id": pa.array([group.id] * count, pa.int64()),
                            "stream_id": pa.array([stream.id] * count, pa.int64()),
                            "timestamp": pa.array(accepted, pa.int64()),
                            "ingestion": pa.array([now] * count, pa.int64()),
                            "size": pa.array(sizes[first:too_new_start], pa.int32()),
                            "message": pa.array(messages, pa.string()),
                            "long_text": pa.array(long, pa.int64()),
                        }
                    ),
                }
            )
        if len(accepted) == len(events):
            return None
        return RejectedEvents(too_old_end or None, expired_end or None, too_new_start if too_new_start < len(times) else None)

    def filter(
        self,
        group_name: str,
        stream_names: Sequence[str] | None = None,
        stream_prefix: str | None = None,
        start: int | None = None,
        end: int | None = None,
        limit: int | None = None,
        from_head: bool = True,
        token: str | None = None,
    ) -> EventPage:
        """Events of a group by timestamp, ingestion and arrival; both ends of the time range belong to it."""
        if stream_names and stream_prefix is not None:
            raise AwsError("InvalidParameterException", "Only one of logStreamNames and logStreamNamePrefix can be specified")
        cursor = self._store.cursor()
        group = _group(cursor, group_name)
        streams = {stream.id: stream.name for stream in _streams(cursor, group)}
        if stream_names:
            unknown = sorted(set(stream_names) - set(streams.values()))
            if unknown:
                raise AwsError("ResourceNotFoundException", f"The specified log stream does not exist: {unknown[0]}")
            streams = {identity: name for identity, name in streams.items() if name in set(stream_names)}
        elif stream_prefix is not None:
            streams = {identity: name for identity, name in streams.items() if name.startswith(stream_prefix)}
        query = ("filter", group.id, sorted(stream_names or []), stream_prefix, start, end)
        position = _position(token, query, (bool, int, int, int))
        if position:
            from_head = position[0]
        rows = _read_events(
            self._store,
            "group_id = $group AND list_contains($streams, stream_id)" + _range(start, end, inclusive=True),
            {"group": group.id, "streams": list(streams) or [-1]},
            after=tuple(position[1:]) if position else None,
            ascending=from_head,
            limit=limit or PAGE_EVENTS,
        )
        events = [Event(row[0], streams[row[1]], *row[2:5]) for row in rows.page]
        if not rows.more:
            return EventPage(events, None)
        last = events[-1]
        return EventPage(events, make_token([from_head, last.timestamp, last.ingestion, last.id], query))

    def stream_events(
        self,
        group_name: str,
        stream_name: str,
        start: int | None = None,
        end: int | None = None,
        limit: int | None = None,
        from_head: bool = False,
        token: str | None = None,
    ) -> StreamPage:
        """Events of one stream, always oldest first; ``end`` does not belong to the range.

        Without a token the latest page, or the first one ``from_head``. At either end a token leads back to itself.
        """
        cursor = self._store.cursor()
        stream = _stream(cursor, _group(cursor, group_name), stream_name)
        forward, position = from_head, None
        if token is not None:
            forward, position = _read_direction(token)
        rows = _read_events(
            self._store,
            "stream_id = $stream" + _range(start, end, inclusive=False),
            {"stream": stream.id},
            after=position,
            ascending=forward,
            limit=limit or PAGE_EVENTS,
        )
        events = [Event(row[0], stream.name, *row[2:5]) for row in rows.page]
        if not forward:
            events.reverse()
        first = (events[0].timestamp, events[0].ingestion, events[0].id) if events else position or (0, 0, 0)
        last = (events[-1].timestamp, events[-1].ingestion, events[-1].id) if events else position or (0, 0, 0)
        return StreamPage(events, _direction("f", last), _direction("b", first))

    # -- tags

    def tagged_arn(self, arn: str) -> str:
        """``arn`` as tags are kept by it; raises when it is no group's."""
        bare = arn.removesuffix(":*")
        if not bare.startswith(self._arn) or not self._store.read("SELECT 1 FROM log_group WHERE name = ?", [bare.removeprefix(self._arn)]):
            raise AwsError("ResourceNotFoundException", "The specified resource does not exist.")
        return bare

    def tags(self, arn: str) -> dict[str, str]:
        return tags.read(self._store, self.tagged_arn(arn))

    def change_tags(self, arn: str, add: Mapping[str, str], remove: Sequence[str] = ()) -> None:
        bare = self.tagged_arn(arn)
        try:
            self._store.transact(lambda db: tags.change(db, bare, dict(add), list(remove)))
        except tags.TooManyTags:
            raise AwsError("TooManyTagsException", f"A resource has at most {tags.MAX_TAGS} tags") from None

    # -- inside

    def _target(self, group_name: str, stream_name: str) -> tuple[Group, Stream]:
        key = (group_name, stream_name)
        target = self._targets.get(key)
        if target is None:
            with self._lock:
                changes = self._changes
            cursor = self._store.cursor()
            group = _group(cursor, group_name)
            target = (group, _stream(cursor, group, stream_name))
            with self._lock:
                # Not kept when something was deleted while it was looked up.
                if changes == self._changes:
                    self._targets[key] = target
        return target

    def _forget_targets(self) -> None:
        with self._lock:
            self._changes += 1
            self._targets.clear()


class LogEventInsert:
    """Brings log events into the table, with ids that grow in the order of commits.

    Events of a stream that was deleted meanwhile go with it.
    """

    def __init__(self) -> None:
        self._next: int | None = None

    def __call__(self, db: duckdb.DuckDBPyConnection, rows: pa.Table) -> None:
        if self._next is None:
            ((last,),) = db.execute("SELECT coalesce(max(id), 0) FROM log_event").fetchall()
            self._next = last + 1
        ids = pa.array(range(self._next, self._next + rows.num_rows), pa.int64())
        self._next += rows.num_rows
        with registered(db, rows.append_column("id", ids)) as view:
            ((stored,),) = db.execute(
                f"INSERT INTO log_event BY NAME SELECT * FROM {view} WHERE stream_id IN (SELECT id FROM log_stream)"
            ).fetchall()
            if stored < rows.num_rows:
                longtext.delete(db, f"{view} WHERE stream_id NOT IN (SELECT id FROM log_stream)")


@dataclass(frozen=True, slots=True)
class _Rows:
    page: list[tuple[Any, ...]]
    more: bool


_GROUP = "id, name, created, retention_days, class, kms_key, protected"
_ORDER = ("timestamp", "ingestion", "id")


def _read_events(
    store: Store, condition: str, parameters: dict[str, Any], after: tuple[Any, ...] | None, ascending: bool, limit: int
) -> _Rows:
    """A page of events ``(id, stream_id, timestamp, ingestion, message)``, cut at PAGE_BYTES; never empty while there are more."""
    if after is not None:
        condition += f" AND ({', '.join(_ORDER)}) {'>' if ascending else '<'} ($after_time, $after_ingestion, $after_id)"
        # DuckDB passes over parts of the table by one column, not by three.
        condition += f" AND timestamp {'>=' if ascending else '<='} $after_time"
        parameters = parameters | dict(zip(("after_time", "after_ingestion", "after_id"), after, strict=True))
    order = ", ".join(f"{column} {'ASC' if ascending else 'DESC'}" for column in _ORDER)
    # The sizes first: a page is cut by them, and messages are only read for what is in it.
    with store.transaction() as db:
        found = db.execute(
            f"SELECT size, timestamp FROM log_event WHERE {condition} ORDER BY {order} LIMIT {limit + 1}", parameters
        ).fetchall()
        taken, size = 0, 0
        for bytes_, _ in found[:limit]:
            size += bytes_ + EVENT_OVERHEAD_BYTES
            if taken and size > PAGE_BYTES:
                break
            taken += 1
        if not taken:
            return _Rows([], False)
        condition += f" AND timestamp {'<=' if ascending else '>='} $last_time"
        rows = db.execute(
            f"""SELECT id, stream_id, timestamp, ingestion, message, long_text FROM log_event
                WHERE {condition} ORDER BY {order} LIMIT {taken}""",
            parameters | {"last_time": found[taken - 1][1]},
        ).fetchall()
        texts = longtext.whole(db, (row[-1] for row in rows))
    return _Rows([(*row[:4], texts.get(row[5], row[4])) for row in rows], len(found) > taken)


def _range(start: int | None, end: int | None, inclusive: bool) -> str:
    condition = f" AND timestamp >= {int(start)}" if start is not None else ""
    return condition + (f" AND timestamp {'<=' if inclusive else '<'} {int(end)}" if end is not None else "")


def _group(db: duckdb.DuckDBPyConnection, name: str) -> Group:
    rows = db.execute(f"SELECT {_GROUP} FROM log_group WHERE name = ?", [name]).fetchall()
    if not rows:
        raise AwsError("ResourceNotFoundException", "The specified log group does not exist.")
    return Group(*rows[0])


def _streams(db: duckdb.DuckDBPyConnection, group: Group) -> list[Stream]:
    rows = db.execute("SELECT id, group_id, name, created FROM log_stream WHERE group_id = ?", [group.id]).fetchall()
    return [Stream(*row) for row in rows]


def _stream(db: duckdb.DuckDBPyConnection, group: Group, name: str) -> Stream:
    rows = db.execute("SELECT id, group_id, name, created FROM log_stream WHERE group_id = ? AND name = ?", [group.id, name]).fetchall()
    if not rows:
        raise AwsError("ResourceNotFoundException", "The specified log stream does not exist.")
    return Stream(*rows[0])


def _first_at_or_after(times: Sequence[int], bound: int) -> int:
    return next((index for index, timestamp in enumerate(times) if timestamp >= bound), len(times))


def _position(token: str | None, query: Any, types: tuple[type, ...]) -> list[Any] | None:
    if token is None:
        return None
    position = read_token(token, query, types)
    if position is None:
        raise AwsError("InvalidParameterException", "The specified nextToken is invalid.")
    return position


def _direction(letter: str, position: tuple[int, int, int]) -> str:
    return f"{letter}/{position[0]:020d}{position[1]:020d}{position[2]:020d}"


def _read_direction(token: str) -> tuple[bool, tuple[int, int, int]]:
    letter, _, digits = token.partition("/")
    if letter not in ("f", "b") or len(digits) != 60 or not digits.isascii() or not digits.isdigit():
        raise AwsError("InvalidParameterException", "The specified nextToken is invalid.")
    return letter == "f", (int(digits[:20]), int(digits[20:40]), int(digits[40:]))


def _now() -> int:
    return int(time.time() * 1000)
