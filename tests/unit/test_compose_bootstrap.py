"""The set-up: it makes the environment once, redoes what was cut off, and says in one line why it cannot.

Each test runs the real script, with the real venv and pip, in a small copy of the project whose lock names one tiny wheel.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from compose.settings import ROOT

SCRIPT = ROOT / "compose" / "bootstrap.py"


def wheel(folder: Path, version: str) -> str:
    """A wheel of one module, and the line of a lock that names it."""
    path = folder / f"tiny_thing-{version}-py3-none-any.whl"
    info = f"tiny_thing-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_thing.py", f"version = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-thing\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"tiny_thing.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return f"tiny-thing @ {path.as_uri()} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "compose").mkdir(parents=True)
        (folder / "requirements").mkdir()
        (folder / "compose" / "bootstrap.py").write_text(SCRIPT.read_text())
        self.lock(wheel(folder, "1.0"))

    def lock(self, text: str, name: str = "runtime") -> None:
        (self.folder / "requirements" / f"{name}.lock").write_text(text)

    def set_up(self, *arguments: str, change: str = "pass", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script; ``change`` is Python that alters it first, to stand for another machine."""
        program = f"import sys; sys.path.insert(0, {str(self.folder / 'compose')!r}); import bootstrap; {change}; "
        program += f"sys.exit(bootstrap.main({list(arguments or ('runtime',))!r}))"
        # Nothing is to be found anywhere but in the lock.
        environment = dict(os.environ) | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""} | environment
        return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)

    def installed(self) -> str:
        """The version of the tiny thing in the environment."""
        python = self.folder / ".venv" / "bin" / "python"
        done = subprocess.run([python, "-c", "import tiny_thing; print(tiny_thing.version)"], capture_output=True, text=True, timeout=60)
        return done.stdout.strip()


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that was set up once; tests change its lock and set it up again."""
    project = Project(tmp_path_factory.mktemp("project"))
    done = project.set_up()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "", "standard output belongs to the commands that follow"
    return project


def test_it_installs_once_and_is_silent_ever_after(ready: Project) -> None:
    assert ready.installed() == "1.0"
    again = ready.set_up()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_a_changed_lock_is_installed(ready: Project) -> None:
    ready.lock(wheel(ready.folder, "2.0"))
    assert ready.set_up().returncode == 0
    assert ready.installed() == "2.0"


def test_a_wrong_hash_is_refused_and_done_again_when_mended(ready: Project) -> None:
    line = wheel(ready.folder, "3.0")
    ready.lock(line[:-8] + "0" * 7 + "\n")
    refused = ready.set_up()
    assert refused.returncode == 1
    assert "pip: " in refused.stderr.splitlines()[-1]
    assert "then run make again" in refused.stderr.splitlines()[-1]
    ready.lock(line)
    assert ready.set_up().returncode == 0
    assert ready.installed() == "3.0"


def test_an_installation_that_was_cut_off_is_done_again(ready: Project) -> None:
    """Killed when pip had begun: what it had half done is not taken for done, although the lock has not changed."""
    die = "bootstrap._pip = lambda *_: __import__('os').kill(__import__('os').getpid(), 9)"
    ready.lock(wheel(ready.folder, "4.0"))
    assert ready.set_up(change=die).returncode == -9
    assert ready.set_up().returncode == 0
    assert ready.installed() == "4.0"


def test_an_environment_that_was_cut_off_is_made_again(ready: Project) -> None:
    """Killed while venv worked: there is a folder, and no word that it is whole."""
    (ready.folder / ".venv" / "parallax.json").unlink()
    done = ready.set_up()
    assert done.returncode == 0
    assert "making .venv" in done.stderr
    assert ready.installed()


def test_dev_contains_runtime(ready: Project) -> None:
    ready.lock(wheel(ready.folder, "5.0"), "dev")
    assert ready.set_up("dev").returncode == 0
    assert ready.set_up("runtime").stderr == ""
    stamp = json.loads((ready.folder / ".venv" / "parallax.json").read_text())
    assert set(stamp["installed"]) == {"dev", "runtime"}


def test_another_python_is_another_environment_only_when_it_was_chosen(ready: Project) -> None:
    stamp = ready.folder / ".venv" / "parallax.json"
    stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {"python": [3, 99]}))
    assert ready.set_up("runtime").stderr == ""
    assert "making .venv" in ready.set_up("runtime", "--chosen").stderr


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_python_too_old_says_so(tmp_path: Path) -> None:
    said = one_line(Project(tmp_path).set_up("runtime", "--chosen", change="bootstrap.OLDEST = (9, 0)"))
    assert "is too old; Parallax needs 9.0 or newer" in said
    assert "make PYTHON=" in said
    assert not (tmp_path / ".venv").exists()


def test_a_python_without_venv_says_what_to_install(tmp_path: Path) -> None:
    said = one_line(Project(tmp_path).set_up("runtime", "--chosen", change="sys.modules['ensurepip'] = None"))
    assert "its venv or ensurepip module is missing" in said
    assert f"apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv" in said
    assert not (tmp_path / ".venv").exists()


def test_no_network_says_so(ready: Project) -> None:
    ready.lock("tiny-thing==9.0 --hash=sha256:" + "0" * 64 + "\n")
    ready.lock("tiny-thing==9.0 --hash=sha256:" + "0" * 64 + "\n", "dev")
    # Port 9 (discard) of this machine: nobody listens.
    done = ready.set_up("runtime", PIP_NO_INDEX="", PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0", no_proxy="127.0.0.1")
    assert done.returncode == 1
    assert "the package index cannot be reached" in done.stderr.splitlines()[-1]
    assert "connect to the network" in done.stderr.splitlines()[-1]


def test_an_old_python_can_read_the_script() -> None:
    """Or it could not say that it is too old."""
    ast.parse(SCRIPT.read_text(), feature_version=(3, 6))
