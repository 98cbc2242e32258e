"""`make bench`: the figures, each beside its yardstick in the same run.

python -m tests.bench [--markdown FILE] [--quick] [application comparing ingest pages visibility xray]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from tests.bench import application, comparing, ingest, pages, recording, visibility, xray
from tests.bench.figures import Section, machine, markdown, section, table
from tests.sandbox import Sandbox

SECTIONS = {
    "visibility": "From response to visible, memory, up",
    "ingest": "How fast each part takes telemetry",
    "xray": "X-Ray beside moto",
    "comparing": "`make compare` of a large run",
    "pages": "The web page of a large run",
    "application": "What telemetry costs the application (one gunicorn worker on one core)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", help=f"what to measure, of {', '.join(SECTIONS)}; all when none is named")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: whether it runs, not what it costs")
    parser.add_argument("--markdown", type=Path, help="also write the tables to this file")
    arguments = parser.parse_args()
    unknown = set(arguments.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; choose from {', '.join(SECTIONS)}")
    wanted = arguments.sections or list(SECTIONS)
    part = 10 if arguments.quick else 1
    # A pipe has no width of its own; narrower than this the rows would wrap.
    console = Console(width=max(Console().width, 130))
    progress = Console(stderr=True)

    def say(what: str) -> None:
        progress.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] {what}")

    done: dict[str, Section] = {}
    with tempfile.TemporaryDirectory(prefix="parallax-bench-") as name:
        folder = Path(name)
        if "comparing" in wanted:
            # With a sandbox of its own, and before the other: idle or not, it would share the cores.
            done["comparing"] = section(SECTIONS["comparing"], comparing.run(folder, 10_000 // part, say))
        if "pages" in wanted:
            loads = 3 if arguments.quick else pages.LOADS
            done["pages"] = section(SECTIONS["pages"], pages.run(folder, 1_000 // part, loads, say))
        if set(wanted) - {"comparing", "pages"}:
            done |= _in_sandbox(wanted, folder, part, say)
    console.print(f"{machine()}\n")
    measured_sections = [done[name] for name in SECTIONS if name in done]
    for each in measured_sections:
        console.print(table(each))
    if arguments.markdown:
        parts = [f"Machine: {machine()}. {time.strftime('%Y-%m-%d', time.gmtime())}.\n"]
        parts += [markdown(each) for each in measured_sections]
        arguments.markdown.write_text("\n".join(parts))


def _in_sandbox(wanted: Sequence[str], folder: Path, part: int, say: Callable[[str], None]) -> dict[str, Section]:
    """What is measured of a sandbox, one for all."""
    done: dict[str, Section] = {}
    say("bringing a sandbox of its own up")
    with Sandbox.start(folder / "state") as sandbox:
        if "visibility" in wanted:
            say("up")
            measured = visibility.up(sandbox)
            say("the demo load, watched on every path")
            measured += visibility.visible(sandbox, 2000 // part)
            done["visibility"] = section(SECTIONS["visibility"], measured + visibility.memory(sandbox))
        if "ingest" in wanted:
            say("recording spans of the real application")
            recorded = recording.record(sandbox, folder)
            say(f"recorded {recorded.spans:,} spans; replaying them")
            measured = ingest.honeycomb(sandbox, recorded, folder, 200_000 // part)
            measured += ingest.collector(sandbox, recorded, folder, 40_000 // part)
            measured += ingest.logs(sandbox, folder, 200_000 // part)
            done["ingest"] = section(SECTIONS["ingest"], measured + ingest.rollbar(sandbox, 4_000 // part))
        if "xray" in wanted:
            done["xray"] = section(SECTIONS["xray"], xray.run(folder, 50_000 // part, 100_000 // part, 1_000_000 // part, say))
        if "application" in wanted:
            rounds, seconds = (1, 2.0) if part > 1 else (3, 6.0)
            done["application"] = application.run(sandbox, folder, rounds, seconds, say, SECTIONS["application"])
    return done


if __name__ == "__main__":
    main()
