"""A compare in the background, and how far it is: ``python -m services.compare.underway <run id>``.

The page starts it as a process of its own: a compare of a large run takes up to a gigabyte, which goes with its process, and its work
takes nothing from who looks at pages meanwhile. What it says stands in ``compare.jsonl`` in the run's folder, held
(:mod:`compose.held`) as long as it is at work, one JSON object a line: ``phase``, and of a look ``elapsed``, ``timeout`` (seconds) and
``paths``: ``lacks`` (requests that are incomplete), ``of``, ``reason`` where it cannot be read.

Exit status: 0 compared, whatever it found; 2 could not compare.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from compose import held

#: In the run's folder.
FILE: Final = "compare.jsonl"

Phase = Literal["reading", "waiting", "judging", "done", "failed"]


@dataclass(frozen=True)
class Underway:
    """The last compare that was started in the background. ``alive``: it is at work. ``reason``: why it failed."""

    phase: Phase
    alive: bool
    elapsed: float = 0.0
    timeout: float = 0.0
    paths: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reason: str = ""


def read(folder: Path) -> Underway | None:
    """How far the compare of a run is; None where none was started in the background."""
    path = folder / FILE
    alive = held.holder(path) is not None
    try:
        lines = path.read_bytes().split(b"\n")[1:-1]
    except OSError:
        return None
    said: dict[str, Any] = {"phase": "reading"}
    for line in reversed(lines):
        with suppress(ValueError, TypeError):
            said |= {key: value for key, value in json.loads(line).items() if key in Underway.__dataclass_fields__ and key != "alive"}
            break
    if not alive and said["phase"] not in ("done", "failed"):
        said |= {"phase": "failed", "reason": "its process was killed before its end"}
    return Underway(alive=alive, **said)


def main(arguments: list[str]) -> int:
    # Imported here: the page imports this module to read.
    from compose.settings import ConfigurationError, load_or_exit
    from loadtest.ledger import LedgerError
    from loadtest.runs import RunError, load_run
    from services.compare.comparing import compare
    from services.compare.settle import Look
    from services.compare.verdicts import UnknownRequest

    settings = load_or_exit()
    if len(arguments) != 1:
        print("usage: python -m services.compare.underway <run id>", file=sys.stderr)
        return 2
    try:
        run = load_run(settings, arguments[0])
        mine = held.take(run.folder / FILE)
    except (RunError, OSError, held.Taken) as error:
        taken = isinstance(error, held.Taken)
        print(f"compare: {'this run is being compared already' if taken else error}", file=sys.stderr)
        return 2

    def say(**what: Any) -> None:
        with suppress(OSError):  # A full disk is said by the compare itself.
            mine.write(json.dumps(what).encode())

    def looked(look: Look) -> None:
        paths = {
            str(path): {
                "lacks": progress.incomplete,
                "of": progress.complete + progress.incomplete,
                "reason": look.unreadable.get(path, ""),
            }
            for path, progress in look.progress.items()
        }
        say(phase="waiting", elapsed=round(look.elapsed, 1), timeout=settings.compare_timeout, paths=paths)

    say(phase="reading", timeout=settings.compare_timeout)
    try:
        compare(settings, run, looked)
    except (ConfigurationError, RunError, LedgerError, UnknownRequest) as error:
        say(phase="failed", reason=str(error))
        print(f"compare: {error}", file=sys.stderr)
        return 2
    except BaseException as error:
        say(phase="failed", reason=f"{type(error).__name__}: {error}")
        raise
    say(phase="done")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
