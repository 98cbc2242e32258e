"""Decode, flatten and commit OTLP traces in one thread, without a wire: the local Honeycomb's yardstick.

    python -m tests.bench.in_process bodies.bin store.duckdb

Prints the seconds it took.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from localstack.honeycomb import otlp
from localstack.honeycomb.models import Honeycomb
from tests.bench.sender import read


def main() -> None:
    bodies = read(Path(sys.argv[1]))
    vendor = Honeycomb(Path(sys.argv[2]))
    begin = time.perf_counter()
    for body in bodies:
        vendor.add(otlp.traces(ExportTraceServiceRequest.FromString(body)))
    seconds = time.perf_counter() - begin
    vendor.close()
    print(seconds)


if __name__ == "__main__":
    main()
