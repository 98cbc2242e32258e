"""One event as one row.

The columns that nearly every event has, or that nearly every query names, are *promoted*: a column of the table ``event``
with a type of its own. Everything else is one JSON object in ``attributes``. A value that does not fit the type of its
promoted column stays in ``attributes``, so nothing is lost and a reader looks at both (see ``query``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import orjson
import pyarrow as pa

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


class Rows:
    """Events on their way into the store, in the order they arrived.

    ``columns`` gives, for each dataset's slug, every column that occurs with the type first seen; ``names`` the dataset's
    name in the casing first seen.
    """

    __slots__ = ("columns", "names", "rows")

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.columns: dict[str, dict[str, str]] = {}
        self.names: dict[str, str] = {}

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
        if len(attributes) > MAX_FIELD:
            attributes = orjson.dumps({name: cut(value) if isinstance(value, str) else value for name, value in rest.items()})
        self.rows.append((key, clamp(event_time), sample_rate, *promoted, attributes))

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
        fits = isinstance(value, str)
    elif kind == "float":
        fits = isinstance(value, float)
    else:
        fits = isinstance(value, int) and not isinstance(value, bool) and _MIN_INT64 <= value <= _MAX_INT64
    if not fits:
        return None
    del data[name]
    return cut(value) if isinstance(value, str) else value


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
