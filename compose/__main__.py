"""Runs the sandbox: ``python -m compose up|down|status|logs|doctor|init|start|stop|kill|restart``. Make's targets call it.

Exit status: 0 done (for status: everything runs), 1 it could not be done (or something does not run), 2 a wrong setting
or wrong arguments.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

from compose.settings import Backend, ConfigurationError, Settings, load_or_exit


def say(text: str) -> None:
    """Progress: on standard error, at once."""
    print(text, file=sys.stderr, flush=True)


def _up(settings: Settings, _arguments: argparse.Namespace) -> int:
    from compose import sandbox
    from compose.processes import processes

    began = time.monotonic()
    running = processes(settings)
    width = max((len(process.what) for process in running), default=0)
    sandbox.up(settings, running, lambda text: say(f"up: {text}"))
    say(f"up: {len(running)} processes after {time.monotonic() - began:.1f} s, {settings.mode}, state in {settings.state_dir}")
    for process in running:
        where = ", ".join(f"{port.number} {port.use}" for port in process.ports if "hop" not in port.use)
        say(f"  {process.name:<12} {process.what:<{width}}  {where}")
    if settings.mode == "online" or any(process.name == "aws" for process in running):
        _init_xray(settings, "up")
    say(f"the web page: {settings.page_url}")
    say("next: make load, make compare; make open; make status, make logs NAME=cruddur; make down")
    return 0


def _init_xray(settings: Settings, prefix: str, typed_endpoint: str = "") -> int:
    """Sampling rule and group. What goes wrong is said; nothing else depends on them."""
    from compose import init

    if not init.wanted(settings):
        return 0
    try:
        return 0 if init.ensure(settings, lambda text: say(f"{prefix}: {text}"), typed_endpoint=typed_endpoint) else 1
    except init.InitError as error:
        say(f"{prefix}: neither sampling rule nor group were looked after: {error}")
        return 1


def _init(settings: Settings, arguments: argparse.Namespace) -> int:
    if Backend.XRAY not in settings.backends:
        say("init: nothing to make, xray is not in BACKENDS")
    return _init_xray(settings, "init", arguments.typed_endpoint)


def _down(settings: Settings, _arguments: argparse.Namespace) -> int:
    from compose import sandbox

    began = time.monotonic()
    ended = sandbox.down(settings, lambda text: say(f"down: {text}"))
    say(f"down: {ended} processes ended after {time.monotonic() - began:.1f} s" if ended else "down: nothing was running")
    return 0


def _status(settings: Settings, _arguments: argparse.Namespace) -> int:
    from compose import status

    return status.show(settings)


def _logs(settings: Settings, arguments: argparse.Namespace) -> int:
    from compose import logs
    from compose.sandbox import SandboxError

    if not arguments.lines.isdecimal():
        raise SandboxError(f"LINES={arguments.lines!r} is no number of lines; next: make logs LINES=50")
    return logs.show(settings, arguments.name, int(arguments.lines), arguments.follow)


def _doctor(settings: Settings, _arguments: argparse.Namespace) -> int:
    from compose import doctor

    return doctor.show(settings)


def _start(settings: Settings, arguments: argparse.Namespace) -> int:
    from compose import sandbox
    from compose.processes import processes

    sandbox.start(settings, processes(settings), arguments.name, lambda text: say(f"start: {text}"))
    say(f"start: {arguments.name} runs")
    return 0


def _stop(settings: Settings, arguments: argparse.Namespace) -> int:
    from compose import sandbox

    sandbox.stop(settings, arguments.name)
    say(f"stop: {arguments.name} has ended and stays away; start it again: make start NAME={arguments.name}")
    return 0


def _restart(settings: Settings, arguments: argparse.Namespace) -> int:
    from compose import sandbox

    sandbox.stop(settings, arguments.name)
    return _start(settings, arguments)


def _kill(settings: Settings, arguments: argparse.Namespace) -> int:
    from compose import sandbox

    pid = sandbox.kill(settings, arguments.name)
    say(f"kill: {arguments.name} (pid {pid}) is dead; the supervisor starts it again. What did it lose? make compare")
    return 0


def _clean(settings: Settings, arguments: argparse.Namespace) -> int:
    from compose import clean

    _down(settings, arguments)
    clean.state(settings, say)
    return 0


def _hint(settings: Settings, _arguments: argparse.Namespace) -> int:
    say(f"The sandbox is still up. Look at it request by request: {settings.page_url}")
    say("Look further: make compare FORMAT=json, make trace ID=<trace id>, make logs, make status.")
    say("Break it: make kill NAME=rollbar while make load runs, then make compare. End it: make down")
    return 0


Command = Callable[[Settings, argparse.Namespace], int]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m compose", description="Run the sandbox. Settings: docs/settings.md")
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, run: Command, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text)
        command.set_defaults(run=run)
        return command

    add("up", _up, "start everything the settings call for; on a running sandbox, apply what has changed")
    add("down", _down, "end every process of this sandbox")
    add("status", _status, "what runs")
    add("doctor", _doctor, "what could keep it from running, each with the next command")
    init = add("init", _init, "make the sampling rule and the group in X-Ray, where they are missing")
    init.add_argument(
        "--typed-endpoint",
        default="",
        metavar="URL",
        help="X-Ray's address for the commands it prints, where it differs from XRAY_ENDPOINT",
    )
    add("clean", _clean, "down, then remove databases, queues, logs and runs")
    add("hint", _hint, "what to do with a running sandbox")
    logs = add("logs", _logs, "the last lines of one process's log, or of all")
    logs.add_argument("name", nargs="?", default="")
    logs.add_argument("--lines", default="20")
    logs.add_argument("--follow", action="store_true")
    one: list[tuple[str, Command, str]] = [
        ("start", _start, "start one process"),
        ("stop", _stop, "stop one process in order; it stays stopped"),
        ("restart", _restart, "stop and start one process"),
        ("kill", _kill, "SIGKILL one process; the supervisor starts it again"),
    ]
    for name, run, text in one:
        add(name, run, text).add_argument("name", nargs="?", default="")
    return parser


def main(words: list[str]) -> int:
    arguments = _parser().parse_args(words)
    settings = load_or_exit()
    # Imported when the settings are known to be right, so that a wrong one is said at once.
    from compose.sandbox import SandboxError
    from compose.supervision import SupervisorError

    try:
        run: Command = arguments.run
        return run(settings, arguments)
    except ConfigurationError as error:
        say(f"parallax: {error}. See docs/settings.md")
        return 2
    except (SandboxError, SupervisorError) as error:
        say(f"parallax: {error}")
        return 1
    except BrokenPipeError:
        # Whoever read (make logs | head) has seen enough. Nothing may be written when Python flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # A disk that is full, a folder that may not be written.
        say(f"parallax: {error}; next: make doctor")
        return 1
    except KeyboardInterrupt:
        say("parallax: interrupted; make status says what runs, make down ends it")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
