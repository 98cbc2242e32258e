"""Values of the largest size that a vendor takes, more of them than DuckDB may have in memory: all are stored and found, after a crash too.

Without the table ``long_text`` (:mod:`localstack.longtext`) a hundred of them closed the database for good.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from localstack.aws.logs.models import MAX_BATCH_BYTES
from localstack.rollbar.routes import MAX_PAYLOAD
from tests.api.aws_clients import client
from tests.api.servers import start_vendor

#: Of 1 MB each; DuckDB may have 96 MB and 128 MB.
COUNT = 128


def large(number: int, size: int) -> str:
    """A text of its own for each number; of what counts is its length, not what is in it."""
    return f"{number} {'ü' * ((size - 10) // 2)}"


def all_at_once(work: Callable[[int], Any], numbers: Iterable[int]) -> None:
    """Call ``work`` from several threads; raises what any of them raised."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, numbers))


def test_log_events(tmp_path: Path) -> None:
    with start_vendor("aws", tmp_path) as aws:
        logs = client(aws, "logs")
        logs.create_log_group(logGroupName="g")
        for stream in ("s", "other"):
            logs.create_log_stream(logGroupName="g", logStreamName=stream)
        now = int(time.time() * 1000)
        size = MAX_BATCH_BYTES - 26

        def put(number: int) -> None:
            event = {"timestamp": now + number, "message": large(number, size)}
            logs.put_log_events(logGroupName="g", logStreamName="other" if number % 2 else "s", logEvents=[event])

        def check(numbers: Iterable[int]) -> None:
            for number in numbers:
                found = logs.filter_log_events(logGroupName="g", startTime=now + number, endTime=now + number)["events"]
                assert [event["message"] for event in found] == [large(number, size)]

        all_at_once(put, range(COUNT))
        check((0, COUNT - 1))
        aws.kill()
        aws.start()
        check((1, COUNT - 1))
        logs.delete_log_stream(logGroupName="g", logStreamName="other")
        put(COUNT)
        check((0, COUNT - 2, COUNT))
        assert len(logs.get_log_events(logGroupName="g", logStreamName="s", startFromHead=True)["events"]) == 1, "a page is 1 MB"
        assert " ERROR " not in aws.log


def test_rollbar_items(tmp_path: Path) -> None:
    with start_vendor("rollbar", tmp_path) as rollbar:
        api = f"{rollbar.url}/api/1"
        post = {"X-Rollbar-Access-Token": rollbar.settings.rollbar_access_token.get_secret_value()}
        read = {"X-Rollbar-Access-Token": rollbar.settings.rollbar_read_token.get_secret_value()}
        size = MAX_PAYLOAD - 1_000

        def put(number: int) -> None:
            body = {"message": {"body": f"m {number}", "detail": large(number, size)}}
            item = {"data": {"environment": "e", "fingerprint": str(number), "body": body}}
            answer = requests.post(f"{api}/item/", data=_json(item), headers=post, timeout=30)
            assert answer.status_code == 200, answer.text

        def instances(**parameters: int) -> list[dict[str, Any]]:
            answer = requests.get(f"{api}/instances", parameters, headers=read, timeout=30)
            found: list[dict[str, Any]] = answer.json()["result"]["instances"]
            return found

        def check(before: int) -> None:
            newest = instances(limit=2)
            found = newest + instances(limit=2, lastId=newest[-1]["id"] - before)
            assert len(found) == 4
            for occurrence in found:
                message = occurrence["data"]["body"]["message"]
                assert message["detail"] == large(int(message["body"].removeprefix("m ")), size)

        all_at_once(put, range(COUNT))
        check(before=100)
        rollbar.kill()
        rollbar.start()
        check(before=100)
        newest = instances(limit=1)[0]["id"]
        assert requests.delete(f"{api}/instance/{newest}", headers=read, timeout=30).status_code == 200
        put(COUNT)
        check(before=1)
        sent = {"environment": "e", "revision": "1", "comment": "c" * 64 * 1024}
        deploy = requests.post(f"{api}/deploy", json=sent, headers=post, timeout=30).json()["data"]["deploy_id"]
        told = requests.get(f"{api}/deploy/{deploy}", headers=read, timeout=30).json()["result"]
        assert told["comment"] == sent["comment"]
        assert " ERROR " not in rollbar.log


def _json(document: Any) -> bytes:
    """As it is, so that a body of the largest size is not made larger by escapes."""
    return json.dumps(document, ensure_ascii=False).encode()
