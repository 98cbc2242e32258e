"""Decode, flatten and commit OTLP traces in one thread, without a wire: the local Honeycomb's yardstick.

    python -m tests.bench.in_process bodies.bin store.duckdb

Prints the seconds it took.
"""

from __future__ import annotations
