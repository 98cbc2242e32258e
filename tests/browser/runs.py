"""A real run for the pages: a load on a real sandbox, in the middle of which the X-Ray daemon's role died."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from loadtest.ledger import LedgerEntry
from loadtest.runs import load_run
from tests.sandbox import Sandbox

REQUESTS = 120
#: Requests that are finished when the daemon is killed. It is back after about a second, in which a third of the others is sent.
BEFORE = 20
#: So few that the load goes on for longer than the command that kills the daemon takes to start, also on a machine that is busy.
USERS = "5"
#: Seconds without a change after which compare calls what is absent lost: nothing that is late is waited for here.
SETTLE = "2"


@dataclass(frozen=True)
class RealRun:
    """A run that was compared, on a sandbox whose page shows it."""

    sandbox: Sandbox
    id: str
    #: What `make compare FORMAT=json` printed of it.
    report: dict[str, Any]

    @property
    def site(self) -> str:
        """The address of the page, without a slash at its end."""
        return address(self.sandbox)

    def url(self, below: str = "") -> str:
        """The address of the run's page, or of one below it: ``run.url("/requests/…")``."""
        return f"{self.site}/runs/{self.id}{below}"

    def request_url(self, trace_id: str) -> str:
        return self.url(f"/requests/{trace_id}")

    def entries(self) -> list[LedgerEntry]:
        """The ledger, in the order of ``sequence``."""
        return load_run(self.sandbox.settings(), self.id).entries()

    def lost(self) -> dict[str, Any]:
        """A request of which xray/sdk shows nothing: sequence, trace_id, route, path, verdict, absent, why …"""
        row: dict[str, Any] = next(
            row for row in self.report["not_as_expected"] if (row["path"], row["verdict"]) == ("xray/sdk", "missing")
        )
        return row


def address(sandbox: Sandbox) -> str:
    return f"http://127.0.0.1:{sandbox.settings().compare_port}"


def real_run(sandbox: Sandbox, requests: int = REQUESTS) -> RealRun:
    """Drive a load with errors, of which xray/sdk loses some: datagrams that were sent while the daemon was dead. Compare it."""
    for longer in (1, 2, 4):
        load = sandbox.begin_load(requests * longer, users=USERS)
        sandbox.wait_for_requests(BEFORE)
        sandbox.process("kill", "xray-daemon")
        run_id = sandbox.finish_load(load)
        run = RealRun(sandbox, run_id, sandbox.compare(run_id))
        # Where other work kept the command that kills from being quick enough, the load was over, or nearly.
        if run.report["paths"]["xray/sdk"]["verdicts"]["missing"]:
            return run
    raise AssertionError("nothing was lost while the daemon was dead")
