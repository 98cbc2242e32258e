"""docs/walkthrough-xray.md, typed as it stands into a shell: each command works, and answers what the page says."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from compose.settings import ROOT
from tests.sandbox import Sandbox
from tests.waiting import until

PAGE = ROOT / "docs" / "walkthrough-xray.md"

pytestmark = pytest.mark.timeout(300)

#: Commands that only look: a person types them again until what was sent has arrived.
_LOOKS = re.compile(r"aws xray (get|batch-get)-|find_traces ")
#: Commands that change something, and are typed once.
_CHANGES = re.compile(r"(create|update|delete)-|browse |curl |make ")

#: What a process would write that looked for EC2's metadata service.
_METADATA_SERVICE = re.compile(r"169\.254|imds|ec2 ?metadata|ec2 instance metadata", re.IGNORECASE)


@dataclass(frozen=True)
class Step:
    """A block of commands and what it answers, in which ``…`` stands for anything; empty where the page says nothing."""

    commands: str
    answer: str


def steps() -> list[Step]:
    """The page's blocks, in order: ``sh`` is typed, a plain block behind it is the answer."""
    found: list[Step] = []
    for kind, text in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        if kind == "sh":
            found.append(Step(text, ""))
        else:
            assert found, "an answer to nothing"
            assert not found[-1].answer, f"two answers to {found[-1].commands}"
            found[-1] = Step(found[-1].commands, text)
    return found


def _pattern(answer: str) -> re.Pattern[str]:
    """A line with ``…`` alone is any lines; within a line it is any text. Blanks count once, however many."""
    lines: list[str] = []
    for line in answer.strip().splitlines():
        parts = [r"\s+".join(re.escape(word) for word in re.split(r"\s+", part)) for part in line.strip().split("…")]
        lines.append("(?:.*\n)*?" if line.strip() == "…" else "[^\n]*".join(parts) + r"[ \t]*\n")
    return re.compile(r"\s*" + r"\s*".join(lines))


class Shell:
    """A bash in which what is typed is run, with one marker line behind each block."""

    _MARK = "--walkthrough-block-ends--"

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.type("set -eo pipefail\n")

    def type(self, block: str) -> str:
        """Run a block; what it wrote. Fails when a command failed, which ends the shell."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{block}\necho {self._MARK}\n")
        self._process.stdin.flush()
        lines: list[str] = []
        for line in self._process.stdout:
            if line.rstrip("\n") == self._MARK:
                return "".join(lines)
            lines.append(line)
        raise AssertionError(f"this failed:\n{block}\nwith:\n{''.join(lines)}")

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A sandbox that is not up: the page brings it up."""
    made = Sandbox.prepare(tmp_path / "state")
    home = tmp_path / "home"
    home.mkdir()
    for name in [name for name in made.environment if name.startswith(("AWS_", "MAKE", "MFLAGS")) and not name.endswith("_PORT")]:
        del made.environment[name]
    made.environment["HOME"] = str(home)
    try:
        yield made
    finally:
        made.run("compose", "down")


def test_every_command_of_the_page_works_and_answers_what_it_says(sandbox: Sandbox) -> None:
    shell = Shell(sandbox.environment)
    try:
        for step in steps():
            _run(shell, step)
    finally:
        shell.close()
    assert sandbox.processes() == {}, "the page ends with make down"
    # Every process of a whole sandbox has run, and none of them took this machine for one of EC2's.
    logs = sorted((sandbox.state_dir / "logs").glob("*.log"))
    assert {"cruddur.log", "profiles.log", "collector.log", "xray-daemon.log", "aws.log"} <= {log.name for log in logs}
    for log in logs:
        found = [line for line in log.read_text(errors="replace").splitlines() if _METADATA_SERVICE.search(line)]
        assert found == [], log.name


def _run(shell: Shell, step: Step) -> None:
    written = shell.type(step.commands)
    if not step.answer:
        assert written == "", f"the page says nothing of this:\n{step.commands}\n{written}"
        return
    pattern = _pattern(step.answer)
    if _LOOKS.search(step.commands) and not _CHANGES.search(step.commands):
        last = written

        def answered() -> bool:
            nonlocal last
            if pattern.fullmatch(last):
                return True
            last = shell.type(step.commands)
            return bool(pattern.fullmatch(last))

        try:
            until(answered, 40, "the answer on the page")
        except AssertionError as error:
            raise AssertionError(f"{step.commands}\nshould answer\n{step.answer}\nand answers\n{last}") from error
    else:
        assert pattern.fullmatch(written), f"{step.commands}\nshould answer\n{step.answer}\nand answers\n{written}"


def test_what_stands_for_anything_does_so_and_nothing_else() -> None:
    assert _pattern("a\t…\nb\n").fullmatch("a   12\nb\n")
    assert _pattern("…\nb\n").fullmatch("x\ny\nb\n")
    assert _pattern("a\n…\n").fullmatch("a\nx\ny\n")
    assert not _pattern("a\nb\n").fullmatch("a\nx\nb\n")
    assert not _pattern("a…b\n").fullmatch("a\nb\n")


def test_the_page_names_no_port_but_the_defaults() -> None:
    for step in steps():
        assert re.findall(r":(\d{4,5})\b", step.commands) == [], "ports come from variables that have defaults"
