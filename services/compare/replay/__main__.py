"""Sends a run's recorded telemetry again through a Collector configuration, as a new run.

    python -m services.compare.replay                        # the newest run, through the sandbox's own configuration
    python -m services.compare.replay --run ID               # an older run; RUN= does the same
    python -m services.compare.replay --config my.yaml       # with this file after ours; CONFIG= does the same
    python -m services.compare.replay --config my.yaml --only    # through this file alone; CONFIG_ONLY=1 does the same

Exit status: 0 the Collector delivered, or dropped on purpose, all it was sent; 1 something was refused, failed or still waits;
2 could not replay, and no run was made.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from collector.build import BuildError
from compose.settings import ConfigurationError, load_or_exit
from loadtest.ledger import LedgerError
from loadtest.runs import RunError
from services.compare.replay.command import ReplayError, replay
from services.compare.replay.outcome import COULD_NOT_REPLAY
from services.compare.replay.recorded import RecordingError
from services.compare.replay.trial import TrialError

#: Exit status after Ctrl-C, as shells have it: 128 and the number of SIGINT.
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    settings = load_or_exit()
    options = _parser().parse_args(arguments)
    chosen = {name: value for name, value in (("config", options.config), ("config_only", options.only)) if value}
    settings = settings.model_copy(update=chosen)
    try:
        outcome = replay(settings, options.run or settings.run, lambda line: print(f"replay: {line}", file=sys.stderr, flush=True))
    except (ReplayError, RunError, LedgerError, RecordingError, BuildError, ConfigurationError, OSError) as error:
        print(f"replay: {error}", file=sys.stderr)
        return COULD_NOT_REPLAY
    except TrialError as error:
        print(f"replay: {error}\nreplay: no run was made; mend the configuration, then `make replay` again", file=sys.stderr)
        return COULD_NOT_REPLAY
    except KeyboardInterrupt:
        print("replay: stopped; the new run was taken back, but what was sent of it is at the backends", file=sys.stderr)
        return INTERRUPTED
    if (options.format or settings.format) == "json":
        json.dump(outcome.document(), sys.stdout, ensure_ascii=False)
        print()
    else:
        print(outcome.text())
    return outcome.exit_status


def _parser() -> argparse.ArgumentParser:
    description, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m services.compare.replay", description=description, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", default="", help="run to send again; default: RUN, else the newest")
    parser.add_argument("--config", default="", help="configuration files, separated by spaces; default: CONFIG")
    parser.add_argument("--only", action="store_true", help="without the sandbox's own files; default: CONFIG_ONLY")
    parser.add_argument("--format", choices=("table", "json"), help="what to print; default: FORMAT, else text")
    return parser


def _stop(_number: int, _frame: FrameType | None) -> None:
    # Asked once more while it cleans up, it would leave half of that.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    # Whoever asks it to end, it ends the Collector it has started and takes its run back.
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main())
