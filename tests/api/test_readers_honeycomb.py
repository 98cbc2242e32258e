"""Reading back more than one Honeycomb result can hold, from the local Honeycomb over the wire."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from services.compare.readers import honeycomb
from services.compare.readers.base import Window
from services.compare.readers.honeycomb import HoneycombReader
from tests.api.servers import Vendor, start_vendor
from tests.compare_run import RUN, Wire, pairs, requests

#: More than a result holds, all in one minute.
SPANS = honeycomb.LIMIT + 2_000


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    folder: Path = tmp_path_factory.mktemp("honeycomb")
    with start_vendor("honeycomb", folder) as started:
        yield started


def test_a_run_of_any_size_is_read_whole_and_each_span_once(vendor: Vendor) -> None:
    wire = Wire(vendor.settings)
    start = requests(1)[0].start // 60 * 60 - 60
    traces = [f"{int(start):08x}{secrets.token_hex(12)}" for _ in range(SPANS // 4)]
    sent: set[tuple[str, str]] = set()
    for at in range(0, len(traces), 1000):
        request = ExportTraceServiceRequest()
        scope = request.resource_spans.add(resource=Resource(attributes=pairs({"service.name": "cruddur"}))).scope_spans.add()
        for trace_id in traces[at : at + 1000]:
            for number in range(4):
                span = scope.spans.add(trace_id=bytes.fromhex(trace_id), span_id=secrets.token_bytes(8), name=f"span {number}")
                span.start_time_unix_nano = span.end_time_unix_nano = int((start + 10) * 1e9)
                span.attributes.extend(pairs({"run": RUN}))
                sent.add((trace_id, span.span_id.hex()))
        wire.honeycomb("traces", request)
    window = Window(RUN, start + 5, start + 15, frozenset(traces))
    reader = HoneycombReader(vendor.settings, ())
    read = [(each.trace_id, each.id) for batch in reader.read(window, None) for each in batch.observations]
    assert len(read) == len(sent)
    assert set(read) == sent

    some = sorted(traces)[: honeycomb.TRACES_A_QUERY + 10]
    again = list(reader.read(window, some))
    assert {trace for batch in again for trace in batch.replaces} == set(some)
    assert {(each.trace_id, each.id) for batch in again for each in batch.observations} == {pair for pair in sent if pair[0] in set(some)}


def test_an_environment_that_never_saw_an_event_is_empty_and_that_is_no_error(tmp_path: Path) -> None:
    with start_vendor("honeycomb", tmp_path) as fresh:
        assert list(HoneycombReader(fresh.settings, ("app.now",)).read(Window(RUN, 0.0, 60.0), None)) == []


@pytest.mark.parametrize(("minutes", "count"), [(1, 1), (1, 1_000), (1, 100_000), (10, 1_000), (10, 20_000), (600, 100_000)])
def test_the_first_slices_cover_the_run_without_a_gap_or_an_overlap(minutes: int, count: int) -> None:
    start = 1_790_000_040.0
    window = Window(RUN, start, start + minutes * 60, frozenset(str(number) for number in range(count)))
    slices = honeycomb._slices(window)
    endings: dict[tuple[int, int], list[str]] = {}
    for part in slices:
        assert part.start % 60 == part.end % 60 == 0
        endings.setdefault((part.start, part.end), []).append(part.ending)
    spans = sorted(endings)
    assert spans[0][0] <= window.start
    assert spans[-1][1] >= window.end
    assert all(before[1] == after[0] for before, after in itertools.pairwise(spans))
    assert all(sorted(each) in ([""], sorted("0123456789abcdef")) for each in endings.values())
    for part in slices:
        halves = part.divided()
        assert (halves[0].start, halves[-1].end) == (part.start, part.end)
