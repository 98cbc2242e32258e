"""The victim of the crash test of the index: puts segments and refreshes the index, a few traces a transaction, until it is killed.

    python -m tests.unit.index_writer FILE

Prints a line before each refresh, flushed. Every batch adds to traces of the batches before it, so that each refresh takes rows away
and brings others.
"""

from __future__ import annotations

import itertools
import json
import secrets
import sys
from pathlib import Path

from localstack.aws.state import State
from localstack.aws.xray.traces import index

TRACES = 6
START = 1_795_354_000


def documents(number: int) -> list[str]:
    """The batch ``number``: for each trace a segment, and a subsegment of a segment of the batch before."""
    made = []
    for trace in range(TRACES):
        named = {
            "trace_id": f"1-{START:08x}-{trace:024x}",
            "name": f"n{number}",
            "start_time": START + number,
            "end_time": START + number + 1,
        }
        segment = f"{number + 1:08x}{trace + 1:08x}"
        made.append(json.dumps(named | {"id": segment, "annotations": {"batch": number}}))
        if number:
            parent = f"{number:08x}{trace + 1:08x}"
            call = {"id": secrets.token_hex(8), "type": "subsegment", "parent_id": parent, "namespace": "remote"}
            made.append(json.dumps(named | call))
    return made


def main(path: str) -> None:
    index.PART_DOCUMENTS = 8
    state = State(Path(path), "us-east-1")
    ((known,),) = state.store.read("SELECT count(DISTINCT name) FROM segment")
    for number in itertools.count(known):
        state.xray.segments.put(documents(number)[:50])
        print(number, flush=True)
        state.xray.index.refresh()


if __name__ == "__main__":
    main(*sys.argv[1:])
