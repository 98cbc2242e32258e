"""Validate, with the real binary, every configuration that can be loaded: ``python -m collector.check``.

One line a combination; exit status 1 if one of them is not valid, 2 if there is no binary to ask. ``otelcol validate``
builds each pipeline's components without starting them, so it needs neither ports nor backends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import chain, combinations
from pathlib import Path

from collector.build import BuildError, ensure_built
from collector.configs import OTLP_BACKENDS, Process, config_files

# What has no default in the files. `validate` calls nobody, so any value of the right form will do.
_ENVIRONMENT = {
    "HONEYCOMB_ENDPOINT": "http://127.0.0.1:4570",
    "HONEYCOMB_API_KEY": "not-a-key",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "not-a-key",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret",
    # The receiver binds its UDP port when it is built: any free one, for a sandbox may be up.
    "XRAY_DAEMON_PORT": "0",
}
_ENDPOINTS = {
    "offline": {"XRAY_ENDPOINT": "http://127.0.0.1:4566", "LOGS_ENDPOINT": "http://127.0.0.1:4566"},
    # Empty: the region's own endpoints.
    "online": {"XRAY_ENDPOINT": "", "LOGS_ENDPOINT": ""},
}


def every_combination() -> Iterator[tuple[str, Process, frozenset[str], bool]]:
    """Mode, process, backends and whether it records, of each configuration that can be loaded."""
    subsets = chain.from_iterable(combinations(OTLP_BACKENDS, size) for size in range(len(OTLP_BACKENDS) + 1))
    of_the_collector = [frozenset(subset) for subset in subsets]
    for mode in _ENDPOINTS:
        for backends in of_the_collector:
            for record in (False, True):
                yield mode, "collector", backends, record
        yield mode, "xray-daemon", frozenset(), False


def validate(binary: Path, mode: str, process: Process, backends: frozenset[str], record: bool) -> str:
    """What is wrong with this combination; empty if nothing is."""
    with tempfile.TemporaryDirectory() as folder:
        folders = {
            "COLLECTOR_QUEUE_DIR": f"{folder}/collector",
            "COLLECTOR_RECORDING_DIR": f"{folder}/recorded",
            "XRAY_DAEMON_QUEUE_DIR": f"{folder}/xray-daemon",
        }
        result = subprocess.run(
            [str(binary), "validate", *(f"--config={file}" for file in config_files(process, backends, record=record))],
            env={"PATH": os.environ.get("PATH", ""), **_ENVIRONMENT, **_ENDPOINTS[mode], **folders},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    return "" if result.returncode == 0 else (result.stderr.strip() or f"exit status {result.returncode}")


def main() -> int:
    try:
        binary = ensure_built()
    except BuildError as error:
        print(f"collector: {error}", file=sys.stderr)
        return 2
    wrong = 0
    for mode, process, backends, record in every_combination():
        on = [*(name for name in OTLP_BACKENDS if name in backends), *(["recording"] if record else [])]
        label = f"{mode:8}{process:12}{','.join(on) or '-'}"
        complaint = validate(binary, mode, process, backends, record)
        print(f"{label:60}{'valid' if not complaint else 'NOT VALID'}", flush=True)
        if complaint:
            wrong += 1
            print(f"    {complaint}", file=sys.stderr)
    if wrong:
        files = "collector/config/"
        print(f"collector: {wrong} configurations are not valid; mend {files}, then run: python -m collector.check", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
