"""What each member of an exported run must look like. A file from somebody else is looked at before anything of it is used."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator

from compose.settings import SignalPath
from loadtest.runs import RUN_ID
from services.compare.model import Verdict
from services.compare.prices import Meter
from services.compare.record import OBSERVATIONS, OUTCOMES, REQUESTS, STRAYS, UNDECLARED
from services.cruddur.signals import Kind

#: Version of the archive. The first had no ``undeclared.parquet``.
FORMAT: Final = 2
CONTENTS: Final = "parallax-run.json"
#: What an exported run is called.
SUFFIX: Final = ".parallax.zip"

DOCUMENTS: Final = pa.schema([("path", pa.string()), ("trace_id", pa.string()), ("id", pa.string()), ("document", pa.string())])

#: The tables, by member.
TABLES: Final = {
    "requests.parquet": REQUESTS,
    "observations.parquet": OBSERVATIONS,
    "outcomes.parquet": OUTCOMES,
    "strays.parquet": STRAYS,
    "undeclared.parquet": UNDECLARED,
    "documents.parquet": DOCUMENTS,
}


def tables(version: int) -> dict[str, pa.Schema]:
    """The tables of an archive of a version, by member."""
    return {name: schema for name, schema in TABLES.items() if version > 1 or name != "undeclared.parquet"}


def members(version: int) -> tuple[str, ...]:
    """What is in an archive of a version."""
    return (CONTENTS, "manifest.json", "record.json", *tables(version))


#: Epoch seconds that a calendar has a day for: until the year 9999.
LATEST: Final = 253_402_300_799.0

Count = Annotated[int, Field(ge=0, lt=1 << 62)]
Moment = Annotated[float, Field(ge=0, le=LATEST)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Member(_Form):
    bytes: Count
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Kept(_Form):
    """How much of a path's raw documents is there; ``reason``: why it is not all."""

    count: Count
    reason: str | None = None


class Contents(_Form):
    format: int = Field(ge=1)
    run: str = Field(pattern=rf"^{RUN_ID.pattern}$")
    made: Moment
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
    kept: Count
    renamed: Count
    changed: Count
    dropped: Count


class Billed(_Open):
    unit: str
    units: Count
    usd: float | None


class PathReport(_Open):
    label: str
    state: Literal["settled", "changing", "unreadable", "off"]
    reason: str | None
    next: str | None
    verdicts: dict[Verdict, Count]
    errors: Count | None
    visible_seconds: Quantiles | None
    duration_difference_ms: Quantiles | None
    attributes: list[Attribute]
    billed: Billed | None

    @field_validator("verdicts")
    @classmethod
    def _all_or_none(cls, verdicts: dict[Verdict, int]) -> dict[Verdict, int]:
        if verdicts and len(verdicts) < len(Verdict):
            raise ValueError("not every verdict has its number")
        return verdicts


class MetricReport(_Open):
    path: SignalPath
    metric: str
    expected: float
    expected_at_most: float
    observed: float | None
    state: Literal["equal", "less", "more", "unreadable"]
    reason: str | None


class Metered(_Open):
    path: SignalPath | None
    meter: Meter
    units: Count


class LookedAt(_Open):
    documents: dict[Kind, Count]
    requests: Count
    cut: bool
    reason: str | None


class Beside(_Open):
    requests: Count
    of: Count
    paths: dict[SignalPath, LookedAt]


class RecordDocument(_Open):
    """``meters`` and ``undeclared`` are not in what older versions wrote."""

    version: int
    made: Moment
    folder: str
    run: str
    exit_status: Literal[0, 1, 2]
    conclusion: str
    requests: Count
    about: dict[str, str | int | float | bool | None]
    seconds: float
    paths: Annotated[dict[SignalPath, PathReport], Field(min_length=len(SignalPath), max_length=len(SignalPath))]
    stray: Count
    metrics: list[MetricReport]
    meters: list[Metered] = []
    undeclared: Beside | None = None
