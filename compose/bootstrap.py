"""Makes the virtual environment that everything else runs in: ``python3 compose/bootstrap.py runtime|dev``.

Run by make before anything else, with whatever ``python3`` the machine has, so this file uses nothing but the standard
library and the syntax of Python 3.6: a Python too old must be able to read it in order to say so.

The environment is ``.venv`` in the project's folder, filled from ``requirements/<set>.lock`` with every hash checked.
``.venv/parallax.json`` says what was installed; it is written last, so an installation that was cut off is done again.
``dev`` contains everything of ``runtime``. Prints nothing when there is nothing to do; what it prints goes to standard
error, because the standard output of ``make compare FORMAT=json`` is one document.

Exit status: 0 the environment is ready, 1 it cannot be made (one line says why and what to type next).
"""
# ruff: noqa: UP006, UP035, UP045, RUF005, S606
# (What ruff would modernise is what an old Python cannot read; os.execv is meant.)

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

OLDEST = (3, 11)
NEWEST_FIRST = ("python3.13", "python3.12", "python3.11", "python3.14")
ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".build"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "parallax.json"
LOG = BUILD / "set-up.log"
SETS = ("runtime", "dev")
REPORT_EVERY = 10.0
"""Seconds between two lines of progress."""
UNREACHABLE = (
    "NewConnectionError",
    "ConnectTimeout",
    "Temporary failure in name resolution",
    "ProxyError",
    "ReadTimeout",
    "from versions: none",
)
"""What pip says when it cannot reach the package index."""


class SetUpError(Exception):
    """The environment cannot be made. The message is one line: what is wrong, and the next command."""


def say(text: str) -> None:
    sys.stderr.write(f"set-up: {text}\n")
    sys.stderr.flush()


# --- Which Python ---------------------------------------------------------------------------------------------------


def new_enough_python() -> Optional[str]:
    """A command on the PATH that runs a Python new enough, or None."""
    check = f"import sys, ensurepip, venv; sys.exit(sys.version_info < {OLDEST})"
    for name in NEWEST_FIRST:
        found = shutil.which(name)
        if found is None:
            continue
        try:
            # A version manager's shim may be there and refuse to run.
            if subprocess.call([found, "-c", check], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
                return found
        except OSError:
            continue
    return None


def refuse_or_replace(chosen: bool) -> None:
    """Where this Python is too old or cannot make environments, go on with another one, or say what to do.

    ``chosen``: the user named this Python with PYTHON=, so another one is no answer.
    """
    version = sys.version_info
    me = f"Python {version[0]}.{version[1]}.{version[2]} ({sys.executable})"
    if version < OLDEST:
        wrong = f"{me} is too old; Parallax needs {OLDEST[0]}.{OLDEST[1]} or newer"
        remedy = "install one (Debian: sudo apt install python3.11 python3.11-venv) and name it: make PYTHON=python3.11"
    else:
        try:
            import ensurepip  # noqa: F401
            import venv  # noqa: F401

            return
        except ImportError:
            wrong = f"{me} cannot make virtual environments: its venv or ensurepip module is missing"
            remedy = f"Debian: sudo apt install python{version[0]}.{version[1]}-venv; or name another Python: make PYTHON=python3.12"
    other = None if chosen else new_enough_python()
    if other is None:
        raise SetUpError(f"{wrong}. {remedy}")
    os.execv(other, [other] + sys.argv)


# --- What is there already ------------------------------------------------------------------------------------------


def lock_file(name: str) -> Path:
    return ROOT / "requirements" / f"{name}.lock"


def lock_hash(name: str) -> str:
    return hashlib.sha256(lock_file(name).read_bytes()).hexdigest()


def read_stamp() -> Dict[str, Any]:
    """What the environment says of itself; empty where there is none or it was never finished."""
    try:
        content = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_stamp(content: Dict[str, Any]) -> None:
    partial = STAMP.with_suffix(".partial")
    with partial.open("w") as stamp:
        json.dump(content, stamp, indent=1, sort_keys=True)
        stamp.flush()
        os.fsync(stamp.fileno())
    partial.replace(STAMP)


def is_another_python(stamp: Dict[str, Any]) -> bool:
    return bool(stamp.get("python") != list(sys.version_info[:2]))


def is_ready(name: str, chosen: bool) -> bool:
    """Whether the environment is whole, holds what the lock says, and belongs to the Python that was named."""
    stamp = read_stamp()
    if chosen and is_another_python(stamp):
        return False
    return stamp.get("installed", {}).get(name) == lock_hash(name) and os.access(str(PYTHON), os.X_OK)


# --- Making it ------------------------------------------------------------------------------------------------------


def last_words(text: str) -> str:
    """The line of a failed command that says most."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["it said nothing"])[-1].replace("ERROR: ", "")


def create() -> None:
    """Make the environment, empty but for pip, with the Python that runs this."""
    say(f"making .venv with Python {sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]}")
    shutil.rmtree(str(VENV), ignore_errors=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "venv", str(VENV)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
    )
    output = process.communicate()[0]
    if process.returncode != 0:
        shutil.rmtree(str(VENV), ignore_errors=True)
        raise SetUpError(f"{last_words(output)}; mend it and run make again, or name another Python: make PYTHON=python3.12")
    write_stamp({"python": list(sys.version_info[:2]), "installed": {}})


def install(name: str) -> None:
    """Install requirements/<name>.lock, every hash checked, and write down that it is there."""
    lines = lock_file(name).read_text().splitlines()
    total = sum(1 for line in lines if line[:1].isalnum())
    stamp = read_stamp()
    # From here until the end nothing is promised about what the environment holds.
    write_stamp(dict(stamp, installed={}))
    say(f"installing up to {total} packages of requirements/{name}.lock into .venv (once, a minute or two)")
    started = time.time()
    returned, tail = _pip(["install", "--require-hashes", "-r", str(lock_file(name))], total)
    if returned != 0:
        words = "".join(tail)
        where = f"(log: {LOG.relative_to(ROOT)})"
        if any(sign in words for sign in UNREACHABLE):
            raise SetUpError(f"the package index cannot be reached {where}; connect to the network, then run make again")
        raise SetUpError(f"pip: {last_words(words)} {where}; mend it, then run make again")
    installed = {name: lock_hash(name)}
    if name == "dev":
        installed["runtime"] = lock_hash("runtime")
    write_stamp(dict(stamp, installed=installed))
    say(f"ready after {time.time() - started:.0f} s")


def _pip(words: List[str], total: int) -> Tuple[int, List[str]]:
    """Run the environment's pip; what it says goes to the log, how far it is to the terminal. Its exit status and last lines."""
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input"] + words + ["--progress-bar", "off"]
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    # pip would install beside the environment if the user's own configuration told it to.
    for variable in ("PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PYTHONPATH", "PYTHONHOME"):
        environment.pop(variable, None)
    started = reported = time.time()
    seen = 0
    tail: List[str] = []
    with LOG.open("w") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, cwd=str(ROOT)
        )
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            tail = (tail + [line])[-200:]
            if line.startswith(("Collecting ", "Requirement already satisfied")):
                seen += 1
            if line.startswith("Installing collected"):
                say(f"all fetched after {time.time() - started:.0f} s, unpacking")
                reported = float("inf")
            elif time.time() - reported > REPORT_EVERY:
                reported = time.time()
                say(f"{min(seen, total)} of {total} packages")
        process.stdout.close()
        return process.wait(), tail


class Alone:
    """Holds the lock of the set-up: two makes at once do the work once. The system frees it when its holder dies."""

    def __enter__(self) -> None:
        import fcntl

        self.file = (BUILD / "set-up.lock").open("w")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            say("another set-up is running, waiting for it")
            fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self.file.close()


def set_up(name: str, chosen: bool) -> None:
    """Make the environment ready for ``name``; at once where it is."""
    if is_ready(name, chosen):
        return
    refuse_or_replace(chosen)
    BUILD.mkdir(exist_ok=True)
    with Alone():
        if is_ready(name, chosen):
            return
        stamp = read_stamp()
        if "python" not in stamp or not os.access(str(PYTHON), os.X_OK) or (chosen and is_another_python(stamp)):
            create()
            stamp = {}
        # Where the tools of development were installed they stay, also when only the runtime's lock has changed.
        install("dev" if "dev" in stamp.get("installed", {}) else name)


def main(words: List[str]) -> int:
    if not words or words[0] not in SETS or words[1:] not in ([], ["--chosen"]):
        say("usage: python3 compose/bootstrap.py runtime|dev [--chosen]")
        return 1
    try:
        set_up(words[0], "--chosen" in words)
    except SetUpError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"{error}; make room or mend it, then run make again")
        return 1
    except KeyboardInterrupt:
        say("interrupted; the next make goes on from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
