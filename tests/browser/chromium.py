"""A Chromium for the tests of the web page and for its screenshots, without a step by hand: ``python -m tests.browser.chromium``.

Taken is the first of these that runs:

1. the program that the environment variable ``CHROMIUM`` names (and then no other: a choice is a choice);
2. ``chromium``, ``chromium-browser`` or ``google-chrome`` on the PATH;
3. Playwright's own, where ``playwright install chromium`` was run;
4. one that is made below ``.build/chromium/``, without root and without touching the system: on Debian from its package
   ``chromium`` (:func:`from_debian`), elsewhere what ``playwright install chromium`` fetches. (Ubuntu's package of that name is
   an empty one that installs a snap.)

Two processes at once do the work once. Prints the program's path; what it does on the way goes to standard error.
Exit status: 0 there is one, 1 there is none and cannot be made (one line says why and what to type next).
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

from playwright.sync_api import Browser, Error, Playwright, sync_playwright

from compose.settings import ROOT

BUILD = ROOT / ".build" / "chromium"
ON_PATH = ("chromium", "chromium-browser", "google-chrome")
NEXT = "next: sudo apt install chromium, or name one: CHROMIUM=/path/to/chromium make test"

#: The fonts make text the same width on every machine that takes its Chromium this way; Liberation has the metrics of Arial and
#: Courier New, DejaVu has the letters that Liberation lacks.
PACKAGES = ("chromium", "fonts-liberation", "fonts-dejavu-core")
#: Seconds that fetching may take (124 MB), far above what it takes on a slow line, and that unpacking and a first start may take.
FETCHING, RUNNING = 1200, 120

# What an administrator has hooked into apt (a clean-up of the system's cache, in Debian's container images) is not for our folders.
# With APT::Sandbox::User empty nothing is done as the user _apt, who may not read below a home; without root it is not done anyway.
# Neither changes what is checked: the lists' signatures by the system's own keys, each package's hash by the lists.
APT_CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Post-Invoke;
APT::Sandbox::User "";
APT::Install-Recommends "false";
Dir::State "{state}";
Dir::State::status "{state}/status";
Dir::State::extended_states "{state}/extended_states";
Dir::Cache "{cache}";
Dir::Log "{state}/log";
"""

FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir prefix="relative">root/usr/share/fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>{cache}</cachedir>
  <alias><family>monospace</family><prefer><family>Liberation Mono</family><family>DejaVu Sans Mono</family></prefer></alias>
  <alias><family>serif</family><prefer><family>Liberation Serif</family><family>DejaVu Serif</family></prefer></alias>
  <match><edit name="family" mode="append_last"><string>Liberation Sans</string><string>DejaVu Sans</string></edit></match>
</fontconfig>
"""

WRAPPER = """\
#!/bin/sh
# Starts the Chromium that was unpacked beside this file, with the libraries and fonts that came with it.
here=$(dirname "$(readlink -f "$0")")
export LD_LIBRARY_PATH="{libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
export FONTCONFIG_FILE="$here/fonts.conf"
exec "$here/root/usr/lib/chromium/chromium" "$@"
"""


class ChromiumError(Exception):
    """There is no Chromium. The message is one line: what was tried, and the next command."""


def executable(playwright: Playwright) -> Path:
    """A Chromium that runs; made first where there is none.

    Raises:
        ChromiumError: there is none and none can be made.
    """
    chosen = os.environ.get("CHROMIUM")
    if chosen:
        found = shutil.which(chosen)
        if found is None or (wrong := trouble(Path(found))):
            why = "no program of that name" if found is None else wrong
            raise ChromiumError(f"CHROMIUM={chosen}: {why}; name one that runs, or leave it away: unset CHROMIUM")
        return Path(found)
    own = Path(playwright.chromium.executable_path)
    for candidate in (*(Path(path) for name in ON_PATH if (path := shutil.which(name))), own):
        # A name on the PATH may be a stub of another packaging that is not installed.
        if candidate.exists() and not trouble(candidate):
            return candidate
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return made(own)


def launch(playwright: Playwright) -> Browser:
    """Start it: headless, or in a window with each step slowed down where ``HEADED`` is set.

    Nothing but this machine is asked, whatever a page tries: no name but localhost has an address. Chromium refuses to run as root within
    its own sandbox, so it runs without as root, and only then.

    Raises:
        ChromiumError: there is none, or it does not start.
    """
    headed = bool(os.environ.get("HEADED"))
    program = executable(playwright)
    try:
        return playwright.chromium.launch(
            executable_path=program,
            headless=not headed,
            slow_mo=400 if headed else 0,
            chromium_sandbox=os.geteuid() != 0,
            args=["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"],
        )
    except Error as error:
        if "No usable sandbox" in error.message:
            why = "this system lets nobody but root make namespaces, which its sandbox needs; next: sudo apt install chromium"
        elif headed and "DISPLAY" in error.message:
            why = "there is no screen for a window; next: the same without HEADED"
        else:
            why = f"{error.message.splitlines()[0]}; next: {program} --headless --dump-dom about:blank"
        raise ChromiumError(f"{program} does not start: {why}") from error


def made(own: Path) -> Path:
    """What is below ``.build/chromium``, made where it is not there yet; ``own`` is where Playwright would put its own."""
    there = BUILD / "debian" / "chromium"
    if there.exists() and not trouble(there):
        return there
    tried = []
    if is_debian():
        try:
            return from_debian()
        except ChromiumError as error:
            tried.append(f"Debian's package: {error}")
    say("fetching Playwright's Chromium (once, a minute or two)")
    try:
        run(sys.executable, "-m", "playwright", "install", "chromium", seconds=FETCHING)
        if wrong := trouble(own):
            raise ChromiumError(wrong)
    except ChromiumError as error:
        tried.append(f"Playwright's: {error}")
        raise ChromiumError(f"there is no Chromium on the PATH and none can be fetched ({'; '.join(tried)}). {NEXT}") from None
    return own


# --- Debian's package -----------------------------------------------------------------------------------------------


def is_debian() -> bool:
    """Whether apt can be asked for a real package ``chromium``."""
    try:
        kind = platform.freedesktop_os_release()
    except OSError:
        return False
    names = {kind.get("ID", ""), *kind.get("ID_LIKE", "").split()}
    return "debian" in names and "ubuntu" not in names and all(shutil.which(tool) for tool in ("apt-get", "dpkg-deb"))


def from_debian() -> Path:
    """Debian's Chromium with the libraries this machine lacks, below ``.build/chromium/debian``; the path of its wrapper.

    apt runs with folders of its own (apt.conf(5), "Directories"), so that it needs no root and changes nothing of the system's: it
    reads the system's sources, keys and list of what is installed. Nothing is pinned here: the version is the newest that the
    signed lists of the machine's own release name, since an old browser is taken off Debian's servers the day it is replaced.

    Raises:
        ChromiumError: apt or dpkg-deb failed, or what they gave does not run.
    """
    say("fetching Debian's Chromium and what it needs into .build/chromium (once, about 125 MB)")
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="making-") as name:
        making = Path(name)
        state, cache, result = making / "state", making / "cache", making / "debian"
        for folder in (state / "lists" / "partial", cache / "archives" / "partial", result / "root"):
            folder.mkdir(parents=True)
        # apt locks what lies beside the list of installed packages: a copy needs no right to lock the system's.
        shutil.copyfile("/var/lib/dpkg/status", state / "status")
        configuration = making / "apt.conf"
        configuration.write_text(APT_CONFIGURATION.format(state=state, cache=cache))
        apt = ("apt-get", "--config-file", str(configuration), "--quiet", "--yes")
        run(*apt, "update", seconds=FETCHING)
        run(*apt, "--download-only", "--reinstall", "install", *PACKAGES, seconds=FETCHING)
        for package in sorted((cache / "archives").glob("*.deb")):
            run("dpkg-deb", "--extract", str(package), str(result / "root"), seconds=RUNNING)
        # Some packages have their libraries in a folder of their own, whose absolute path they know; here it is another.
        root = result / "root"
        folders = sorted({library.parent for top in ("lib", "usr/lib") for library in (root / top).rglob("lib*.so*")})
        libraries = ":".join(f"$here/{folder.relative_to(result)}" for folder in folders)
        (result / "fonts.conf").write_text(FONTS.format(cache=escape(str(BUILD / "font-cache"))))
        wrapper = result / "chromium"
        wrapper.write_text(WRAPPER.format(libraries=libraries))
        wrapper.chmod(0o755)
        if wrong := trouble(wrapper):
            raise ChromiumError(wrong)
        shutil.rmtree(BUILD / "debian", ignore_errors=True)
        # One rename, so that what was cut off is never taken for what was finished.
        result.rename(BUILD / "debian")
    return BUILD / "debian" / "chromium"


# --- Small things ---------------------------------------------------------------------------------------------------


def trouble(program: Path) -> str:
    """Why this program does not run here; empty where it does. A library that is missing shows here already."""
    try:
        run(str(program), "--version", seconds=RUNNING)
    except ChromiumError as error:
        return str(error)
    return ""


def run(*command: str, seconds: float) -> None:
    """Run a command to its end, silently.

    Raises:
        ChromiumError: it failed or took longer than ``seconds``; the message has the line that says most.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            env=os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        )
    except subprocess.TimeoutExpired:
        raise ChromiumError(f"{Path(command[0]).name} took longer than {seconds:.0f} s") from None
    except OSError as error:
        raise ChromiumError(f"{Path(command[0]).name}: {error.strerror}") from None
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        words = next((line for line in lines if line.startswith(("E:", "Error"))), lines[-1] if lines else "it said nothing")
        raise ChromiumError(f"{Path(command[0]).name} ended with {done.returncode}: {words[:300]}")


def say(text: str) -> None:
    print(f"chromium: {text}", file=sys.stderr, flush=True)


def main() -> int:
    try:
        with sync_playwright() as playwright:
            print(executable(playwright))
    except ChromiumError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
