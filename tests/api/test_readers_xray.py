"""Reading traces back over many pages, which are fetched side by side, from the local X-Ray over the wire."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from compose.settings import SignalPath
from services.compare.readers.base import Window
from services.compare.readers.xray import SDK_MARK, XRayReader
from tests.api.aws_clients import client
from tests.api.servers import Vendor, start_vendor
from tests.compare_run import RUN, requests

#: More than two pages of summaries, and no whole number of calls.
TRACES = 233


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("aws", tmp_path_factory.mktemp("aws")) as vendor:
        yield vendor


def segment(trace_id: str, start: float, run: str, sdk: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": "Cruddur",
        "id": secrets.token_hex(8),
        "trace_id": f"1-{trace_id[:8]}-{trace_id[8:]}",
        "start_time": start,
        "end_time": start + 0.01,
        "annotations": {"run": run},
    }
    return found | ({"aws": {"xray": {"sdk": SDK_MARK}}} if sdk else {})


def put(aws: Vendor, segments: list[dict[str, Any]]) -> None:
    xray = client(aws, "xray")
    for at in range(0, len(segments), 50):
        assert (
            xray.put_trace_segments(TraceSegmentDocuments=list(map(json.dumps, segments[at : at + 50])))["UnprocessedTraceSegments"] == []
        )


def sent(start: float, count: int, run: str) -> list[dict[str, Any]]:
    """A segment of each way for each of so many traces, a few a second."""
    traces = [(f"{int(start + number / 50):08x}{secrets.token_hex(12)}", start + number / 50) for number in range(count)]
    return [segment(trace, at, run, sdk) for trace, at in traces for sdk in (True, False)]


def test_every_trace_of_many_pages_is_read_once_and_a_later_look_reads_only_what_changed(aws: Vendor) -> None:
    start = requests(1)[0].start
    # Another run's traces lie between them.
    mine, other = sent(start, TRACES, RUN), sent(start, 60, "20250101-000000-0000")
    put(aws, [*mine, *other])
    reader = XRayReader(aws.settings)
    window = Window(RUN, start - 5, start + 10)
    read = Counter((each.path, each.id) for batch in reader.read(window, None) for each in batch.observations)
    assert read == Counter((SignalPath.XRAY_SDK if "aws" in each else SignalPath.XRAY_OTLP, each["id"]) for each in mine)

    first = mine[0]
    late = segment(first["trace_id"].removeprefix("1-").replace("-", ""), start + 0.1, RUN, sdk=True)
    put(aws, [late])
    again = list(reader.read(window, []))
    assert {trace for batch in again for trace in batch.replaces} == {first["trace_id"][2:].replace("-", "")}
    assert sorted(each.id for batch in again for each in batch.observations) == sorted([first["id"], mine[1]["id"], late["id"]])


def test_a_trace_at_the_border_of_two_time_ranges_is_read_once(aws: Vendor) -> None:
    start = requests(1)[0].start // 1 - 3 * 24 * 3600
    border = start + 24 * 3600
    mine = [each for at in (start + 1, border - 1, border, border + 1) for each in sent(at, 1, RUN)]
    put(aws, mine)
    found = XRayReader(aws.settings).read(Window(RUN, start, border + 10), None)
    assert Counter(each.id for batch in found for each in batch.observations) == Counter(each["id"] for each in mine)
