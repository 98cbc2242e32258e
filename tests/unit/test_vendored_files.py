"""Files of other projects that lie in this repository are what their VENDORED.json says, every one of them.

Such a file beside them is a list; an entry says of one file which ``package`` and ``version`` of the npm registry it is from, under which
``licence`` (an SPDX expression), its ``sha256``, and ``why`` it is here. ``file`` is relative to the list.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest

from compose.settings import ROOT

FIELDS = {"package", "version", "licence", "file", "sha256", "why"}


def lists() -> list[str]:
    """Every VENDORED.json that git has or would take, relative to the project's folder."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "*/VENDORED.json"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:  # An archive without git has nothing else lying about either.
        return sorted(
            str(path.relative_to(ROOT))
            for top in ("services", "tests", "localstack", "loadtest", "docs")
            for path in (ROOT / top).rglob("VENDORED.json")
        )
    return sorted(set(listed.stdout.split()))


@pytest.mark.parametrize("name", lists())
def test_vendored_files_are_what_is_declared(name: str) -> None:
    folder = (ROOT / name).parent
    entries = json.loads((ROOT / name).read_text(encoding="utf-8"))
    assert entries, "an empty list declares nothing"
    for entry in entries:
        assert set(entry) == FIELDS, entry
        assert all(isinstance(value, str) and value.strip() for value in entry.values()), entry
        assert re.fullmatch(r"\d+\.\d+\.\d+\S*", entry["version"]), f"{entry['file']}: one version, not a range"
        assert (folder / entry["file"]).resolve().is_relative_to(folder), entry["file"]
        found = hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest()
        assert found == entry["sha256"], f"{entry['file']} is not the file that was vendored: its SHA-256 is {found}"
    declared = [entry["file"] for entry in entries]
    assert len(declared) == len(set(declared)), "a file is declared twice"
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {Path(name).name}
    assert there == set(declared), "each file beside VENDORED.json is declared in it, and nothing else is"
    for package in {entry["package"] for entry in entries}:
        files = [Path(entry["file"]).name.upper() for entry in entries if entry["package"] == package]
        assert any("LICEN" in file for file in files), f"{package} comes with its licence"


def test_there_is_something_to_check() -> None:
    assert "tests/browser/vendor/VENDORED.json" in lists()
