"""What each member of an exported run must look like. A file from somebody else is looked at before anything of it is used."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from compose.settings import SignalPath
from loadtest.runs import RUN_ID
from services.compare.model import Verdict
from services.compare.record import OUTCOMES, REQUESTS, STRAYS

#: Version of the archive.
FORMAT: Final = 1
CONTENTS: Final = "parallax-run.json"

OBSERVATIONS: Final = pa.schema(
    [
        ("path", pa.string()),
        ("kind", pa.string()),
        ("service", pa.string()),
        ("name", pa.string()),
        ("trace_id", pa.string()),
        ("id", pa.string()),
        ("parent_id", pa.string()),
        ("start", pa.float64()),
        ("duration_ms", pa.float64()),
        ("ingested_at", pa.float64()),
        ("error", pa.bool_()),
        ("deliveries", pa.int32()),
        ("units", pa.int64()),
    ]
)
DOCUMENTS: Final = pa.schema([("path", pa.string()), ("trace_id", pa.string()), ("id", pa.string()), ("document", pa.string())])

#: The tables, by member.
TABLES: Final = {
    "requests.parquet": REQUESTS,
    "observations.parquet": OBSERVATIONS,
    "outcomes.parquet": OUTCOMES,
    "strays.parquet": STRAYS,
    "documents.parquet": DOCUMENTS,
}
MEMBERS: Final = (CONTENTS, "manifest.json", "record.json", *TABLES)


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Member(_Form):
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Kept(_Form):
    """How much of a path's raw documents is there; ``reason``: why it is not all."""

    count: int = Field(ge=0)
    reason: str | None = None


class Contents(_Form):
    format: int
    run: str = Field(pattern=rf"^{RUN_ID.pattern}$")
    made: float
    documents: dict[SignalPath, Kept]
    members: dict[str, Member]


# -- record.json: what the pages read of it


class _Open(BaseModel):
    """Members this version does not read may be there."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class Quantiles(_Open):
    p50: float
    p99: float


class Attribute(_Open):
    key: str
    kept: int
    renamed: int
    changed: int
    dropped: int


class Billed(_Open):
    unit: str
    units: int
    usd: float | None


class PathReport(_Open):
    label: str
    state: Literal["settled", "changing", "unreadable", "off"]
    reason: str | None
    next: str | None
    verdicts: dict[Verdict, int]
    errors: int | None
    visible_seconds: Quantiles | None
    duration_difference_ms: Quantiles | None
    attributes: list[Attribute]
    billed: Billed | None


class MetricReport(_Open):
    path: SignalPath
    metric: str
    expected: float
    expected_at_most: float
    observed: float | None
    state: Literal["equal", "less", "more", "unreadable"]
    reason: str | None


class RecordDocument(_Open):
    version: int
    made: float
    folder: str
    run: str
    exit_status: Literal[0, 1, 2]
    conclusion: str
    requests: int
    about: dict[str, Any]
    seconds: float
    paths: Annotated[dict[SignalPath, PathReport], Field(min_length=len(SignalPath), max_length=len(SignalPath))]
    stray: int
    metrics: list[MetricReport]
