"""One event as one row.

The columns that nearly every event has, or that nearly every query names, are *promoted*: a column of the table ``event``
with a type of its own. Everything else is one JSON object in ``attributes``. A value that does not fit the type of its
promoted column stays in ``attributes``, so nothing is lost and a reader looks at both (see ``query``).

A string longer than :data:`LONG` bytes is not in the event's row: in ``attributes`` stands ``{"long": digest, "start": its start}`` (no
value of an event is an object, so none can be taken for one), and the table ``long_text`` has it in parts. So a query groups by a digest
where it would hold megabytes. And events with large values cannot fill DuckDB's memory at a checkpoint, for which it takes the values of
the newest row group together, however large they are: what does not fit closes the database.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any, Literal

import orjson
import pyarrow as pa

from localstack.longtext import in_parts

#: Promoted columns in the order of a row, with what they hold.
PROMOTED: dict[str, Literal["string", "float", "integer"]] = {
    "trace.trace_id": "string",
    "trace.span_id": "string",
    "trace.parent_id": "string",
    "name": "string",
    "service.name": "string",
    "meta.signal_type": "string",
    "meta.annotation_type": "string",
    "duration_ms": "float",
    "status_code": "integer",
}

_SQL_TYPES = {"string": "VARCHAR", "float": "DOUBLE", "integer": "BIGINT"}
_ARROW_TYPES = {"string": pa.string(), "float": pa.float64(), "integer": pa.int64()}

#: The table. Times are nanoseconds since the epoch; ``dataset`` is a slug; ``attributes`` is JSON that this program wrote,
#: kept as VARCHAR so that inserting does not parse it again.
CREATE_EVENT = (
    "CREATE TABLE event (event_time BIGINT NOT NULL, ingest_time BIGINT NOT NULL, dataset VARCHAR NOT NULL, sample_rate INTEGER NOT NULL, "
    + ", ".join(f'"{name}" {_SQL_TYPES[kind]}' for name, kind in PROMOTED.items())
    + ", attributes VARCHAR NOT NULL)"
)

#: Long strings in parts, by their digest: the same text is there once.
CREATE_LONG_TEXT = "CREATE TABLE long_text (digest VARCHAR NOT NULL, part INTEGER NOT NULL, text VARCHAR NOT NULL)"

#: Bytes of JSON that a string inside the row has at most.
LONG = 2_048
#: Characters of the start that a row keeps, by which long strings are put in order.
START = 200

_LONG_SCHEMA = pa.schema([("digest", pa.string()), ("part", pa.int32()), ("text", pa.string())])
_SCHEMA = pa.schema(
    [("dataset", pa.string()), ("event_time", pa.int64()), ("sample_rate", pa.int32())]
    + [(name, _ARROW_TYPES[kind]) for name, kind in PROMOTED.items()]
    + [("attributes", pa.string())]
)

#: Bytes of a string, in UTF-8. Honeycomb's store holds no longer field: its translator husky names the limit (``fieldSizeMax``) and cuts
#: what it writes as JSON there, and leaves other strings to the store. Unsure: that the store cuts them, too, and drops neither field nor
#: event; nobody documents it, but users see their longest strings end there.
MAX_FIELD = 65_535

MAX_SAMPLE_RATE = 2**31 - 1
_MIN_INT64, _MAX_INT64 = -(2**63), 2**63 - 1

#: A value of an event. Honeycomb's column types are string, integer, float and boolean.
Value = str | int | float | bool


def slug(name: str) -> str:
    """The slug of a dataset: lower case, each character that is not a letter or digit becomes ``-`` (``MyDataset!`` is ``mydataset-``)."""
    return "".join(character if character.isalnum() else "-" for character in name.lower())


def column_type(value: Value) -> str:
    """Honeycomb's name for the type of a value."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return "float" if isinstance(value, float) else "string"


def cut(text: str) -> str:
    """A string as it is kept: it ends at :data:`MAX_FIELD` bytes, before a character that would go beyond."""
    if len(text) <= MAX_FIELD // 4:
        return text
    encoded = text.encode()
    return text if len(encoded) <= MAX_FIELD else encoded[:MAX_FIELD].decode(errors="ignore")


def is_long(value: object) -> bool:
    """Whether a value, cut, is kept outside of its row."""
    return isinstance(value, str) and len(value) > LONG // 6 and len(orjson.dumps(value)) > LONG


def digest(text: str) -> str:
    """What stands for a long string."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Rows:
    """Events on their way into the store, in the order they arrived.

    ``columns`` gives, for each dataset's slug, every column that occurs with the type first seen; ``names`` the dataset's
    name in the casing first seen; ``long`` the long strings by their digest.
    """

    __slots__ = ("columns", "long", "names", "rows")

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.columns: dict[str, dict[str, str]] = {}
        self.names: dict[str, str] = {}
        self.long: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def dataset(self, name: str) -> tuple[str, dict[str, str]]:
        """The slug and the known columns of a dataset, which are there from now on."""
        key = slug(name)
        self.names.setdefault(key, name)
        return key, self.columns.setdefault(key, {})

    def add(self, dataset: str, event_time: int, sample_rate: int, data: Mapping[str, Value]) -> None:
        """Add one event. ``dataset`` is a name, ``event_time`` nanoseconds since the epoch."""
        key, known = self.dataset(dataset)
        if not data.keys() <= known.keys():
            for name, value in data.items():
                known.setdefault(name, column_type(value))
        rest = dict(data)
        promoted = tuple(_take(rest, name, kind) for name, kind in PROMOTED.items())
        attributes = orjson.dumps(rest)
        if len(attributes) > LONG:
            attributes = orjson.dumps({name: self._outside(value) if is_long(value) else value for name, value in rest.items()})
        self.rows.append((key, clamp(event_time), sample_rate, *promoted, attributes))

    def _outside(self, value: Value) -> dict[str, str]:
        """What a row keeps of a long string."""
        text = cut(str(value))
        key = digest(text)
        self.long[key] = text
        return {"long": key, "start": text[:START]}

    def long_texts(self) -> pa.Table:
        """The long strings as an Arrow table of the columns of ``long_text``."""
        parts = list(in_parts(self.long.items()))
        columns = zip(*parts, strict=True) if parts else [()] * len(_LONG_SCHEMA)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, _LONG_SCHEMA, strict=True)]
        return pa.Table.from_arrays(arrays, schema=_LONG_SCHEMA)

    def table(self, ingest_time: int) -> pa.Table:
        """The rows as an Arrow table of the columns of ``event``; ``ingest_time`` in nanoseconds since the epoch."""
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(_SCHEMA)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
        table = pa.Table.from_arrays(arrays, schema=_SCHEMA)
        return table.append_column("ingest_time", pa.array([ingest_time] * len(self.rows), pa.int64()))


def _take(data: dict[str, Value], name: str, kind: str) -> Value | None:
    """Remove and return ``data[name]`` when it fits the promoted column; otherwise leave it where it is."""
    value = data.get(name)
    if value is None:
        return None
    if kind == "string":
        fits = isinstance(value, str) and not is_long(value)
    elif kind == "float":
        fits = isinstance(value, float)
    else:
        fits = isinstance(value, int) and not isinstance(value, bool) and _MIN_INT64 <= value <= _MAX_INT64
    return data.pop(name) if fits else None


def clamp(event_time: int) -> int:
    """A time that a 64-bit signed integer can hold: OTLP's times are unsigned."""
    return min(max(event_time, _MIN_INT64), _MAX_INT64)


def sample_rate(value: Any) -> int:
    """A sample rate as Honeycomb keeps it: a whole number of at least 1; what cannot be read as a number is 1."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return 1
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return 1
    if value >= MAX_SAMPLE_RATE:
        return MAX_SAMPLE_RATE
    return max(math.floor(value + 0.5), 1) if value > 0 else 1
