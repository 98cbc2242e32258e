"""Closed-loop HTTP load for the application's benchmark, in a process of its own.

    python -m tests.bench.client http://127.0.0.1:4567 --seconds 6 --connections 16

Prints one JSON document: requests, seconds, latencies in milliseconds, counts by status. It costs about a tenth of what the
application costs, so that the application is what is measured.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections import Counter
from typing import Any

import gevent
from geventhttpclient import HTTPClient

from services.cruddur import seed

#: Home feed 80 %, new message 10 %, a call that goes on to profiles 8 %, an unhandled exception 2 %.
CYCLE = (["home"] * 8 + ["message"]) * 4 + ["user"] * 4 + ["home"] * 8 + ["message"] + ["exception"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--connections", type=int, default=16)
    arguments = parser.parse_args()
    handles = seed.handles()
    turns = itertools.cycle(CYCLE)
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    begin = time.perf_counter()
    deadline = begin + arguments.seconds

    def user(number: int) -> None:
        client = HTTPClient.from_url(arguments.url, concurrency=1, connection_timeout=10, network_timeout=30)
        me, other = handles[number % len(handles)], handles[(number + 1) % len(handles)]
        body = json.dumps({"user_sender_handle": me, "user_receiver_handle": other, "message": "hello from the benchmark"})
        while time.perf_counter() < deadline:
            kind = next(turns)
            headers = trace_headers()
            started = time.perf_counter()
            response: Any
            if kind == "message":
                response = client.post("/api/messages", body=body, headers=headers | {"Content-Type": "application/json"})
            elif kind == "user":
                response = client.get(f"/api/activities/@{other}", headers=headers)
            elif kind == "exception":
                response = client.get("/api/activities/home", headers=headers | {"X-Parallax-Fault": "exception"})
            else:
                response = client.get("/api/activities/home", headers=headers)
            response.read()
            latencies.append((time.perf_counter() - started) * 1000)
            statuses[response.status_code] += 1
        client.close()

    gevent.joinall([gevent.spawn(user, number) for number in range(arguments.connections)], raise_error=True)
    seconds = time.perf_counter() - begin
    latencies.sort()
    print(
        json.dumps(
            {
                "requests": len(latencies),
                "seconds": seconds,
                "rate": len(latencies) / seconds,
                "p50": latencies[len(latencies) // 2],
                "p99": latencies[int(len(latencies) * 0.99)],
                "statuses": dict(statuses),
            }
        )
    )


def trace_headers() -> dict[str, str]:
    """A sampled trace of this request's own, as the load generator sends it."""
    epoch, rest, span = f"{int(time.time()):08x}", os.urandom(12).hex(), os.urandom(8).hex()
    return {
        "traceparent": f"00-{epoch}{rest}-{span}-01",
        "X-Amzn-Trace-Id": f"Root=1-{epoch}-{rest};Parent={span};Sampled=1",
        "baggage": "run=bench",
    }


if __name__ == "__main__":
    main()
