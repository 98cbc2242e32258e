"""The DuckDB file of the local AWS: its tables, and the models that work on it."""

from __future__ import annotations

from pathlib import Path

from localstack import longtext
from localstack.aws import tags
from localstack.aws.logs.models import LONG_MESSAGES, LogEventInsert, Logs
from localstack.aws.logs.models import SCHEMA as LOGS_SCHEMA
from localstack.aws.xray.account.configuration import SCHEMA as CONFIGURATION_SCHEMA
from localstack.aws.xray.account.policies import SCHEMA as POLICY_SCHEMA
from localstack.aws.xray.filters.causes import SCHEMA as CAUSE_SCHEMA
from localstack.aws.xray.filters.groups import CHANGED_SCHEMA
from localstack.aws.xray.filters.groups import SCHEMA as GROUP_SCHEMA
from localstack.aws.xray.insights.state import SCHEMA as INSIGHT_SCHEMA
from localstack.aws.xray.models import XRay
from localstack.aws.xray.sampling.rules import BOOST_SCHEMA
from localstack.aws.xray.sampling.rules import SCHEMA as SAMPLING_SCHEMA
from localstack.aws.xray.segments.storage import ID_BITS, INDEXED, SegmentInsert
from localstack.aws.xray.segments.storage import LONG_DOCUMENTS as LONG_SEGMENTS
from localstack.aws.xray.segments.storage import SCHEMA as SEGMENT_SCHEMA
from localstack.aws.xray.segments.validation import LENIENT, Limits
from localstack.aws.xray.spans.receiving import LONG_DOCUMENTS as LONG_SPANS
from localstack.aws.xray.spans.receiving import SCHEMA as SPAN_SCHEMA
from localstack.aws.xray.spans.retrieval import SCHEMA as RETRIEVAL_SCHEMA
from localstack.aws.xray.traces.index import SCHEMA as INDEX_SCHEMA
from localstack.store import Store

APPLICATION = "parallax.aws"

#: Append only: a later version adds statements at the end, it never changes or moves one.
MIGRATIONS = (
    *SEGMENT_SCHEMA,
    *SAMPLING_SCHEMA,
    *GROUP_SCHEMA,
    *LOGS_SCHEMA,
    *tags.SCHEMA,
    *ID_BITS,
    *BOOST_SCHEMA,
    *CONFIGURATION_SCHEMA,
    *POLICY_SCHEMA,
    *INDEXED,
    *INDEX_SCHEMA,
    *CAUSE_SCHEMA,
    *INSIGHT_SCHEMA,
    *CHANGED_SCHEMA,
    *SPAN_SCHEMA,
    *RETRIEVAL_SCHEMA,
    *longtext.SCHEMA,
    *LONG_MESSAGES,
    *LONG_SEGMENTS,
    *LONG_SPANS,
)

#: DuckDB's own limit; the process needs about 100 MB more for Python and Arrow.
MEMORY_LIMIT = "96MB"

#: The index of traces is many tables, and much comes at a time: a tenth less work than with DuckDB's own 16 MB.
WAL_LIMIT = "32MB"


class State:
    """Everything the local AWS keeps. Raises StoreError when ``path`` cannot be used."""

    def __init__(self, path: Path, region: str, limits: Limits = LENIENT) -> None:
        self.store = Store(
            path,
            APPLICATION,
            MIGRATIONS,
            memory_limit=MEMORY_LIMIT,
            wal_limit=WAL_LIMIT,
            inserts={"segment": SegmentInsert(), "log_event": LogEventInsert()},
        )
        self.xray = XRay(self.store, region, limits)
        self.logs = Logs(self.store, region)
        self.xray.index.watch()

    def close(self) -> None:
        self.xray.index.close()
        self.store.close()
