"""Which configuration files each Collector process loads, and the command that starts it. Pure: reads nothing.

Used by the supervisor, by ``python -m collector.check`` and by the test that holds the Compose files against them.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

Process = Literal["collector", "xray-daemon"]

CONFIG_DIR = Path(__file__).resolve().parent / "config"

OTLP_BACKENDS = ("honeycomb", "xray", "cloudwatch")
"""Backends the Collector exports to, each with a file of its own; Rollbar gets its items from its own SDK."""


def config_files(process: Process, backends: Collection[str], paths: Collection[str] | None = None) -> list[Path]:
    """The files ``process`` loads, in order, when ``backends`` are on.

    ``paths`` are the signal paths that are on (``xray/otlp``, ``cloudwatch/watchtower`` …, as in
    :class:`compose.settings.SignalPath`). A backend that is on, but not by OTLP, is none of the Collector's business.
    Left out, every backend in ``backends`` is taken to be on by OTLP.

    The X-Ray daemon's role does not depend on them.
    """
    if process == "xray-daemon":
        return [CONFIG_DIR / "daemon.yaml"]
    on = [name for name in OTLP_BACKENDS if name in backends and (paths is None or f"{name}/otlp" in paths)]
    # Honeycomb takes every signal; without it some signal may have no pipeline at all.
    names = ["base", *on] if "honeycomb" in on else ["base", "discard", *on]
    return [CONFIG_DIR / f"{name}.yaml" for name in names]


def command(process: Process, backends: Collection[str], binary: Path, paths: Collection[str] | None = None) -> list[str]:
    """The command that starts ``process``.

    No feature gates: at v0.152 ``awsxray`` reads the current HTTP semantic conventions as they are, and does not check the
    age of trace ids (``exporter.awsxray.skiptimestampvalidation`` is beta, hence on).
    """
    return [str(binary), *(f"--config={file}" for file in config_files(process, backends, paths))]
