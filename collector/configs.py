"""Which configuration files each Collector process loads, and the command that starts it. Pure: reads nothing.

Used by the supervisor, by ``python -m collector.check`` and by the test that holds the Compose files against them.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

Process = Literal["collector", "xray-daemon"]

CONFIG_DIR = Path(__file__).resolve().parent / "config"

OTLP_BACKENDS = ("honeycomb", "xray", "cloudwatch")
"""Backends the Collector exports to, each with a file of its own; Rollbar gets its items from its own SDK."""

ENVIRONMENT: Final = MappingProxyType({"AWS_RETRY_MODE": "adaptive"})
"""What both processes need in their environment besides the settings.

Throttling is a permanent error to awsxray once the AWS SDK's quota of retries is used up. Adaptive mode slows down instead
of using it up: measured, X-Ray throttling every call loses the first spans after 226 s, and after 36 s without it.
"""


def config_files(process: Process, backends: Collection[str], paths: Collection[str] | None = None, record: bool = False) -> list[Path]:
    """The files ``process`` loads, in order, when ``backends`` are on.

    ``paths`` are the signal paths that are on (``xray/otlp``, ``cloudwatch/watchtower`` …, as in
    :class:`compose.settings.SignalPath`). A backend that is on, but not by OTLP, is none of the Collector's business.
    Left out, every backend in ``backends`` is taken to be on by OTLP. ``record``: what comes in is also written to files.

    The X-Ray daemon's role does not depend on them.
    """
    if process == "xray-daemon":
        return [CONFIG_DIR / "daemon.yaml"]
    on = [name for name in OTLP_BACKENDS if name in backends and (paths is None or f"{name}/otlp" in paths)]
    # Honeycomb takes every signal; without it some signal may have no pipeline at all.
    names = ["base", *on] if "honeycomb" in on else ["base", "discard", *on]
    if record:
        names.append("recording")
    return [CONFIG_DIR / f"{name}.yaml" for name in names]


def command(
    process: Process, backends: Collection[str], binary: Path, paths: Collection[str] | None = None, record: bool = False
) -> list[str]:
    """The command that starts ``process``.

    No feature gates: at v0.152 ``awsxray`` reads the current HTTP semantic conventions as they are, and does not check the
    age of trace ids (``exporter.awsxray.skiptimestampvalidation`` is beta, hence on).
    """
    return [str(binary), *(f"--config={file}" for file in config_files(process, backends, paths, record))]
