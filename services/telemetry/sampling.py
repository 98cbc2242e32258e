"""X-Ray's sampling rules, polled through the daemon's TCP proxy and shared by OpenTelemetry and the X-Ray SDK.

Neither opentelemetry-sdk-extension-aws 2.1 nor the OpenTelemetry SDK has a sampler for X-Ray's rules; the X-Ray SDK has one,
so both use that. Source: AWS X-Ray Developer Guide, "Configuring sampling rules" and "Using sampling rules with the X-Ray API".
"""

from __future__ import annotations

import logging
import time
from threading import Thread
from typing import Any

from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.context import Context
from aws_xray_sdk.core.daemon_config import DaemonConfig
from aws_xray_sdk.core.sampling.sampler import DefaultSampler
from botocore import UNSIGNED
from botocore.config import Config

from compose.settings import Settings
from services.telemetry import aws
from services.telemetry.delivery import local_host
from services.telemetry.identity import current

#: The SDK asks for rules every 300 s, also after a failed attempt. Until the first answer, ask again after this many seconds.
_FIRST_ANSWER_RETRY = 2.0

#: The SDK hears that a rule has changed in the answer to its reports, and reports only while requests come. After this many seconds
#: without one the rules may be minutes old, so the next request has them fetched again.
_QUIET = 10.0


class _OncePerOutage(logging.Filter):
    """The SDK logs each failed poll with its traceback; one line a minute says as much."""

    def __init__(self) -> None:
        super().__init__()
        self._last = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.ERROR:
            return True
        if time.monotonic() - self._last < 60:
            return False
        self._last = time.monotonic()
        if record.exc_info:
            record.msg = f"{record.msg} ({record.exc_info[1]})"
            record.exc_info = None
        return True


class XRayRules:
    """The decisions of X-Ray's rules for one service.

    Until the rules have come, and while they cannot be had, the SDK's own fallback decides: one request a second and 5 % of
    the rest. It is also the ``sampler`` of the X-Ray SDK's recorder, hence :meth:`should_trace`.
    """

    def __init__(self, service: str, settings: Settings) -> None:
        for name in ("rule_poller", "target_poller"):
            logging.getLogger(f"aws_xray_sdk.core.sampling.{name}").addFilter(_OncePerOutage())
        self._service = service
        address = daemon_address(settings)
        daemon = DaemonConfig(address)
        # The SDK's recorder comes with a sampler; another one would read AWS's descriptions two more times (some 15 MB).
        self._sampler: DefaultSampler = xray_recorder.sampler
        # A client that cannot hang. The daemon's proxy signs for it.
        self._sampler.xray_client = aws.client(
            "xray",
            settings,
            f"http://{daemon.tcp_ip}:{daemon.tcp_port}",
            Config(signature_version=UNSIGNED, connect_timeout=3, read_timeout=3, retries={"max_attempts": 0}),
        )
        self._sampler.load_settings(daemon, Context(context_missing="IGNORE_ERROR"))
        self._sampler.start()
        self._fetched = self._decided = float("-inf")

    def decide(self, host: str, method: str, path: str) -> str | bool:
        """Ask the rules about one request: the name of the rule that samples it, True for a fallback's yes, or False."""
        now = time.monotonic()
        if now - self._decided > _QUIET or (not self._sampler._cache.rules and now - self._fetched > _FIRST_ANSWER_RETRY):
            self._fetched = now
            # The SDK's own thread would look up to a second later. The request does not wait.
            Thread(target=self._sampler._rule_poller._refresh_cache, name="sampling-rules", daemon=True).start()
        self._decided = now
        decision: str | bool = self._sampler.should_trace({"host": host, "method": method, "path": path, "service": self._service})
        return decision

    def should_trace(self, sampling_req: dict[str, Any] | None = None) -> str | bool:
        """As the X-Ray SDK asks; answers with the decision that OpenTelemetry already got for this request, if it did."""
        asked = sampling_req or {}
        identity = current()

        def rule() -> str | bool:
            return self.decide(asked.get("host") or "", asked.get("method") or "", asked.get("path") or "")

        return rule() if identity is None else identity.decide(rule)


def daemon_address(settings: Settings) -> str:
    """The X-Ray daemon's address as the SDK wants it. Both protocols are named: from a plain ``host:port`` the sampler would
    take the UDP address for its TCP calls. The SDK prefers its own variable AWS_XRAY_DAEMON_ADDRESS where that is set."""
    address = f"{local_host(settings)}:{settings.xray_daemon_port}"
    return f"tcp:{address} udp:{address}"
