"""What Locust runs: users that send the plan, each request once, and write the ledger.

``python -m loadtest`` starts Locust with this file and names the run's folder in the environment variable PARALLAX_RUN_FOLDER; all
else is in the run's manifest. Each Locust process sends its share of the plan; the users of a process take the next request from one
iterator.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import time
from collections.abc import Iterator
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any

import gevent
from locust import HttpUser, events, task
from locust.env import Environment
from locust.exception import StopUser
from locust.rpc.protocol import Message
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

from loadtest import identity
from loadtest.ledger import LedgerEntry, LedgerError, LedgerWriter
from loadtest.plan import FAULT_HEADER, PlannedRequest
from loadtest.profiles import PROFILES, Profile
from loadtest.runs import RUN_FOLDER, Run, RunError, open_run
from loadtest.summary import plan_of, report

#: Seconds a user waits for an answer. Far above every timeout of the application, so that it is the application that gives up.
ANSWER_SECONDS = 30.0

#: A worker tells the master that its share was sent.
SENT = "share sent"

log = logging.getLogger("loadtest")


def _open() -> Run:
    try:
        return open_run(Path(os.environ[RUN_FOLDER]))
    except KeyError:
        sys.exit("loadtest: this file is started by `make load`, which makes the run it writes to")
    except RunError as error:
        sys.exit(f"loadtest: {error}")


RUN = _open()
MANIFEST = RUN.manifest
PROFILE: Profile = PROFILES[MANIFEST.profile]


class Share:
    """What this process sends: one iterator that all its users take from, and the ledger they write to."""

    def __init__(self, worker: int, workers: int) -> None:
        plan = plan_of(RUN)
        self.total = len(range(worker, len(plan), workers))
        self.answered = 0
        self.ledger = LedgerWriter(RUN.folder, worker)
        self._requests: Iterator[PlannedRequest] = plan.share(worker, workers)
        self._burst = 0
        self._opens = 0.0

    @property
    def finished(self) -> bool:
        return self.answered == self.total

    def next(self) -> PlannedRequest:
        """The next planned request; waits while a burst is over and the next has not begun. StopUser after the last."""
        request = next(self._requests, None)
        if request is None:
            raise StopUser
        if PROFILE.burst:
            burst = request.sequence // PROFILE.burst
            if burst > self._burst:
                self._burst, self._opens = burst, time.monotonic() + PROFILE.pause
            if burst == self._burst:
                gevent.sleep(max(0.0, self._opens - time.monotonic()))
        return request


class CruddurUser(HttpUser):
    """A user of cruddur. HttpUser, not FastHttpUser: geventhttpclient sends a GET again when its connection breaks, and a request
    that was sent twice would be the load generator's own duplicate."""

    host = MANIFEST.target
    share: Share
    _took = 0.0

    def wait_time(self) -> float:
        """Seconds until the next request: irregular, as people are, and less what the answer took."""
        return max(0.0, random.uniform(*PROFILE.interval()) - self._took)  # noqa: S311

    def on_start(self) -> None:
        self.client.trust_env = False  # a proxy from the environment would be measured instead of cruddur
        self.client.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    @task
    def send_next(self) -> None:
        # In a greenlet of its own: Locust stops a user by killing its greenlet, and a request that reached cruddur belongs in the ledger.
        request = type(self).share.next()
        began = time.monotonic()
        sending = gevent.spawn(self._send_and_record, request)
        try:
            sending.get()
            self._took = time.monotonic() - began
        except gevent.GreenletExit:
            sending.join()
            raise

    def _send_and_record(self, request: PlannedRequest) -> None:
        share = type(self).share
        try:
            share.ledger.write(self.send(request))
        except LedgerError as error:
            log.critical("%s", error)
            gevent.spawn(self.environment.runner.quit)
            return
        share.answered += 1

    def send(self, request: PlannedRequest) -> LedgerEntry:
        """Send one request, once, and say what came of it."""
        start = time.time()
        trace_id = identity.new_trace_id(start)
        headers = identity.headers(MANIFEST.run, trace_id, MANIFEST.sampling)
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        if request.fault is not None:
            headers[FAULT_HEADER] = request.fault
        began = time.perf_counter()
        with self.client.request(
            request.method,
            request.target,
            name=request.route.rule,
            catch_response=True,
            data=request.body,
            headers=headers,
            allow_redirects=False,
            timeout=ANSWER_SECONDS,
        ) as answer:
            duration_ms = (time.perf_counter() - began) * 1000
            # Locust answers a request without an answer with status code 0 and the exception.
            status = answer.status_code or None
            error = None if status else _reason(answer.error)
            if status is None:
                answer.failure(error)
            elif status == request.status:
                answer.success()
            else:
                answer.failure(f"status {status}, planned {request.status} ({request.outcome})")
            everything = MANIFEST.sampling == "all"
            return LedgerEntry(
                run=MANIFEST.run,
                sequence=request.sequence,
                trace_id=trace_id,
                method=request.method,
                route=request.route.value,
                target=request.target,
                outcome=request.outcome.value,
                status=status,
                start=round(start, 6),
                duration_ms=round(duration_ms, 3),
                sampled_xray_sdk=None if status is None else everything or identity.sampled_by_xray_sdk(trace_id, answer.headers),
                sampled_otel=None if status is None else everything or identity.sampled_by_otel(trace_id, answer.headers),
                error=error,
            )


def _reason(error: Any) -> str:
    return f"{type(error).__name__}: {error}"[:300] if error is not None else "no answer"


# -- beginning and ending


def begin(environment: Environment, **_: Any) -> None:
    runner = environment.runner
    if isinstance(runner, MasterRunner):
        gevent.spawn(_end_when_workers_are_done, runner)
        return
    if getattr(CruddurUser, "share", None) is not None:
        log.warning("run %s has sent its %d requests; `make load` begins a new one", MANIFEST.run, MANIFEST.planned)
        return
    CruddurUser.share = Share(runner.worker_index, MANIFEST.workers) if isinstance(runner, WorkerRunner) else Share(0, 1)
    gevent.spawn(_end_when_sent, environment, CruddurUser.share)


def _end_when_sent(environment: Environment, share: Share) -> None:
    while not share.finished:
        gevent.sleep(0.1)
    if isinstance(environment.runner, WorkerRunner):
        environment.runner.send_message(SENT)
    else:
        _end(environment)


_sent: set[str] = set()


def listen(environment: Environment, **_: Any) -> None:
    def sent(msg: Message, **_: Any) -> None:
        _sent.add(msg.node_id)

    if isinstance(environment.runner, MasterRunner):
        environment.runner.register_message(SENT, sent)
    gevent.spawn(_end_with_parent, environment)


def _end_with_parent(environment: Environment) -> None:
    """Stop when the process that started this one is gone, so that a killed load leaves nothing that goes on sending."""
    parent = os.getppid()
    while os.getppid() == parent:
        gevent.sleep(0.5)
    log.warning("the process that started this load is gone")
    if environment.runner is not None:
        environment.runner.quit()
    os._exit(1)


def _end_when_workers_are_done(runner: MasterRunner) -> None:
    """A worker that died is not waited for: its share stays unsent, and the summary says so."""
    while not all(client.id in _sent or client.state == STATE_MISSING for client in runner.clients.values()):
        gevent.sleep(0.1)
    _end(runner.environment)


def _end(environment: Environment) -> None:
    """Headless, Locust quits. With its page it stays, so that the charts can be looked at; the run is over all the same."""
    assert environment.runner is not None
    if environment.web_ui is None:
        environment.runner.quit()
        return
    environment.runner.stop()
    print(report(RUN.complete()), flush=True)
    print(f"Locust's page stays at {environment.web_ui.host}:{environment.web_ui.port}; Ctrl-C closes it.", flush=True)


events.init.add_listener(listen)  # type: ignore[no-untyped-call]
events.test_start.add_listener(begin)  # type: ignore[no-untyped-call]
