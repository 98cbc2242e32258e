"""Becomes one process of the sandbox: ``python -m compose.launch <spec.json>``, run by supervisord only.

A spec is a JSON object: ``name``, ``command`` (list), ``environment`` (added to what is inherited), ``directory`` and
``events`` (the file of compose.events). It exists because supervisord's own configuration cannot hold every value (no
quote inside a quoted one, ``%`` and `` ;`` mean something), and because keys belong into a file only its owner reads.

The program replaces this one, so its pid is the one supervisord knows. Nothing but the standard library: it runs before
every start and restart.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from compose import events

#: Where the processes of a sandbox find each other, besides BIND_HOST.
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that keep an HTTP proxy of the user's (HTTP_PROXY) out of what the processes say to each other.

    Almost every client takes a proxy for 127.0.0.1 too, where it leads nowhere. Both spellings, because some clients read
    only one; what the user excluded already stays excluded.
    """
    known = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if known.strip() == "*":
        hosts = known
    else:
        hosts = ",".join(dict.fromkeys(host for host in (*known.split(","), *_LOOPBACK, environment.get("BIND_HOST", "")) if host))
    return {"no_proxy": hosts, "NO_PROXY": hosts}


def main(spec_file: str) -> None:
    spec = json.loads(Path(spec_file).read_text())
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SUPERVISOR_")}
    environment = inherited | spec["environment"]
    os.chdir(spec["directory"])
    events.record(Path(spec["events"]), spec["name"], "started", os.getpid(), expected=True)
    command = spec["command"]
    try:
        os.execvpe(command[0], command, environment | without_proxy(environment))  # noqa: S606  (no shell is what we want)
    except OSError as error:
        sys.exit(f"{spec['name']}: cannot run {command[0]}: {error.strerror}. Next: make up")


if __name__ == "__main__":
    main(sys.argv[1])
