"""``make logs``: the last lines of one process's log or of all, without the keys that may stand in them."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

from pydantic import SecretStr

from compose.sandbox import SandboxError, files_of
from compose.settings import Settings

#: Bytes read from the end of a log; more than any sensible number of lines.
_TAIL = 2_000_000
_SHORTEST_SECRET = 6


def secrets(settings: Settings) -> list[str]:
    """The values that must not be shown, longest first, so that one that contains another goes whole."""
    values = [getattr(settings, name) for name in type(settings).model_fields]
    texts = {value.get_secret_value() for value in values if isinstance(value, SecretStr)}
    return sorted((text for text in texts if len(text) >= _SHORTEST_SECRET), key=len, reverse=True)


def hide(text: str, hidden: list[str]) -> str:
    """``text`` with every secret replaced."""
    for secret in hidden:
        text = text.replace(secret, "***")
    return text


def _last_lines(path: Path, count: int) -> tuple[list[str], int]:
    """The last ``count`` lines of a file and the offset behind them."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        start = max(0, size - _TAIL)
        file.seek(start)
        data = file.read(size - start)
    lines = data.decode(errors="replace").splitlines()
    return (lines[-count:] if count > 0 else []), size


def show(settings: Settings, name: str, lines: int, follow: bool) -> int:
    """Print logs to standard output; with ``follow`` go on until Ctrl-C. Raises SandboxError when there is no such log."""
    log_dir = files_of(settings).log_dir
    logs = {path.stem: path for path in sorted(log_dir.glob("*.log"))} if log_dir.is_dir() else {}
    if not logs:
        raise SandboxError(f"there are no logs below {log_dir}; next: make up")
    if name and name not in logs:
        raise SandboxError(f"there is no log of {name!r}; choose NAME= from {', '.join(logs)}")
    chosen = {name: logs[name]} if name else logs
    hidden = secrets(settings)
    width = max(len(one) for one in chosen)
    positions = {}
    for one, path in chosen.items():
        last, positions[one] = _last_lines(path, lines)
        _print(one if not name else "", width, last, hidden)
    # Ctrl-C is how a person ends this.
    with contextlib.suppress(KeyboardInterrupt):
        while follow:
            time.sleep(0.2)
            for one, path in chosen.items():
                positions[one] = _news(path, positions[one], one if not name else "", width, hidden)
    return 0


def _news(path: Path, position: int, name: str, width: int, hidden: list[str]) -> int:
    """Print what was added behind ``position``; the new position. Only whole lines, so that no secret is cut in two."""
    try:
        with path.open("rb") as file:
            # Shorter than before: the log was rotated.
            file.seek(position if position <= file.seek(0, 2) else 0)
            position = file.tell()
            data = file.read()
    except FileNotFoundError:
        return 0
    end = data.rfind(b"\n") + 1
    _print(name, width, data[:end].decode(errors="replace").splitlines(), hidden)
    return position + end


def _print(name: str, width: int, lines: list[str], hidden: list[str]) -> None:
    for line in lines:
        print(f"{name:<{width}} | {hide(line, hidden)}" if name else hide(line, hidden))
    sys.stdout.flush()
