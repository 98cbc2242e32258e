"""The sandbox's own command line with a declaration of tiny processes: ``STATE_DIR=… python -m tests.system.tiny up|down|…``.

Everything is real but what runs: ``<state dir>.json`` is a list of {name, command, ports, environment, tier}. A port is
{setting, number, protocols}.
"""

from __future__ import annotations

import json
import sys

import compose.processes
from compose.processes import Port, Process, Tier
from compose.settings import Settings


def declared(settings: Settings) -> list[Process]:
    """The processes of the declaration beside the state folder."""
    rows = json.loads(settings.state_dir.with_suffix(".json").read_text())
    return [
        Process(
            row["name"],
            "for a test",
            tuple(row["command"]),
            row["environment"],
            tuple(Port(port["setting"], port["number"], "HTTP", tuple(port["protocols"])) for port in row["ports"]),
            Tier[row["tier"]],
        )
        for row in rows
    ]


if __name__ == "__main__":
    compose.processes.processes = declared
    # Only now: what it imports must find the declaration above.
    from compose.__main__ import main

    sys.exit(main(sys.argv[1:]))
