"""What the local Honeycomb has acknowledged survives a restart and SIGKILL; what it cannot open it leaves alone."""

from __future__ import annotations

import concurrent.futures
import itertools
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pytest
import requests

from compose.settings import ROOT, Settings
from tests.api.honeycomb import HEADERS, PROTOBUF, count, rows, send, trace
from tests.api.servers import environment, hermetic_settings, start_vendor
from tests.ports import free_ports
from tests.waiting import until


def test_state_survives_a_restart(tmp_path: Path) -> None:
    with start_vendor("honeycomb", tmp_path) as honeycomb:
        send(honeycomb, trace(1, spans=3, run="r1"))
        query = requests.post(f"{honeycomb.url}/1/queries/cruddur", json={"breakdowns": ["run"]}, headers=HEADERS, timeout=30).json()
        started = requests.post(
            f"{honeycomb.url}/1/query_results/cruddur", json={"query_id": query["id"], "disable_series": True}, headers=HEADERS, timeout=30
        )
        honeycomb.restart()
        assert requests.get(f"{honeycomb.url}/1/queries/cruddur/{query['id']}", headers=HEADERS, timeout=30).json() == query
        url = honeycomb.url + started.headers["Location"]
        # The result was in memory only: it is computed again.
        result = until(lambda: (answer := requests.get(url, headers=HEADERS, timeout=30).json())["complete"] and answer, 20, "the result")
        assert result["data"]["results"] == [{"data": {"run": "r1", "COUNT": 3}}]
        send(honeycomb, trace(2, run="r2"))
        assert count(honeycomb) == 4
        assert honeycomb.stop() == 0


def test_what_was_acknowledged_survives_sigkill(tmp_path: Path) -> None:
    """Four senders, killed in the middle three times: every acknowledged span is there, and none that is not a whole request."""
    acknowledged: set[int] = set()
    refused: set[int] = set()
    numbers = itertools.count(1)
    with start_vendor("honeycomb", tmp_path) as honeycomb:
        for _ in range(3):
            before = len(acknowledged)
            stop = threading.Event()

            def sender(url: str = f"{honeycomb.url}/v1/traces", stop: threading.Event = stop) -> None:
                with requests.Session() as session:
                    while not stop.is_set():
                        number = next(numbers)
                        body = trace(number, spans=5).SerializeToString()
                        try:
                            answer = session.post(url, body, headers=PROTOBUF, timeout=30)
                        except requests.RequestException:
                            refused.add(number)
                            return
                        assert answer.status_code == 200
                        acknowledged.add(number)

            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                futures = [pool.submit(sender) for _ in range(4)]
                until(lambda before=before: len(acknowledged) > before + 40, 30, "some requests")  # type: ignore[misc]
                honeycomb.kill()
                stop.set()
                for future in futures:
                    future.result()
            honeycomb.start()
        found = {
            int(row["trace.trace_id"], 16): row["COUNT"] for row in rows(honeycomb, {"breakdowns": ["trace.trace_id"], "limit": 10_000})
        }
        assert acknowledged <= found.keys()
        # A request in flight when the process died may be stored, but only as a whole.
        assert found.keys() <= acknowledged | refused
        assert set(found.values()) == {5}


def run_to_its_end(settings: Settings) -> subprocess.CompletedProcess[str]:
    """The vendor as a command that is expected to refuse."""
    command = [sys.executable, "-m", "localstack.honeycomb"]
    return subprocess.run(command, cwd=ROOT, env=environment(settings), capture_output=True, text=True, timeout=60, check=False)


def test_a_foreign_file_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "data" / "honeycomb.duckdb"
    file.parent.mkdir()
    with duckdb.connect(str(file)) as other:
        other.execute("CREATE TABLE mine (a INTEGER)")
    content = file.read_bytes()
    http, grpc = free_ports(2)
    settings = hermetic_settings(state_dir=tmp_path, honeycomb_port=http, honeycomb_grpc_port=grpc)
    ended = run_to_its_end(settings)
    assert ended.returncode == 2
    assert str(file) in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert file.read_bytes() == content


@pytest.mark.parametrize("port", [0, 1])
def test_a_busy_port_is_named(tmp_path: Path, port: int) -> None:
    with start_vendor("honeycomb", tmp_path / "first") as first:
        ports = free_ports(2)
        ports[port] = first.ports[port]
        settings = hermetic_settings(state_dir=tmp_path / "second", honeycomb_port=ports[0], honeycomb_grpc_port=ports[1])
        ended = run_to_its_end(settings)
        assert ended.returncode == 2
        assert str(first.ports[port]) in ended.stderr
        assert "make doctor" in ended.stderr
        assert "Traceback" not in ended.stderr
