"""Reading a recording back: what was written whole is read, whatever else the file went through."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.compare.replay.recorded import MAX_MESSAGE, RecordedFile, RecordingError, files

CONTENTS = st.lists(st.binary(min_size=1, max_size=300), max_size=8)


def framed(content: bytes) -> bytes:
    """A message as the file exporter writes it: four bytes of length, big-endian, and a zstd frame with its checksum."""
    frame = zstandard.ZstdCompressor(write_checksum=True).compress(content)
    return len(frame).to_bytes(4, "big") + frame


def read(path: Path) -> tuple[list[bytes], int, bool]:
    """The messages, the bytes passed over, and whether the file ends in the middle of one."""
    with RecordedFile(path) as file:
        return list(file.messages()), file.damaged, file.cut


anything = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@anything
@given(CONTENTS)
def test_what_is_written_is_read(tmp_path: Path, contents: list[bytes]) -> None:
    path = tmp_path / "traces.otlp"
    path.write_bytes(b"".join(map(framed, contents)))
    assert read(path) == (contents, 0, False)


@anything
@given(CONTENTS, st.data())
def test_cut_at_any_byte_it_gives_the_whole_messages_before_and_says_that_it_is_cut(
    tmp_path: Path, contents: list[bytes], data: st.DataObject
) -> None:
    messages = [framed(content) for content in contents]
    whole = b"".join(messages)
    at = data.draw(st.integers(0, len(whole)))
    path = tmp_path / "traces.otlp"
    path.write_bytes(whole[:at])
    ends = [sum(map(len, messages[:number])) for number in range(len(messages) + 1)]
    before = max(number for number, end in enumerate(ends) if end <= at)
    assert read(path) == (contents[:before], at - ends[before], at not in ends)


@anything
@given(CONTENTS, CONTENTS, st.binary(min_size=1, max_size=200))
def test_what_follows_a_damaged_place_is_read(tmp_path: Path, before: list[bytes], after: list[bytes], damage: bytes) -> None:
    """A full disk leaves a stump, and what is written when there is room again stands right behind it."""
    path = tmp_path / "traces.otlp"
    path.write_bytes(b"".join(map(framed, before)) + damage + b"".join(map(framed, after)))
    messages, damaged, cut = read(path)
    assert messages == before + after
    assert damaged == len(damage)
    assert cut == (not after)


@anything
@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_message_that_was_changed_is_never_given_out(tmp_path: Path, content: bytes, data: st.DataObject) -> None:
    message = bytearray(framed(content))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "traces.otlp"
    path.write_bytes(bytes(message))
    messages, _, _ = read(path)
    assert set(messages) <= {content}


def test_a_frame_that_claims_to_be_huge_takes_no_memory(tmp_path: Path) -> None:
    bomb = framed(bytes(MAX_MESSAGE + 1))
    path = tmp_path / "traces.otlp"
    path.write_bytes(bomb + framed(b"next"))
    assert read(path) == ([b"next"], len(bomb), False)


def test_files_are_read_oldest_first_and_only_those_of_the_time(tmp_path: Path) -> None:
    names = ["traces-2026-01-01T12-00-00.000-size.otlp", "traces-2026-01-01T13-00-00.000-size.otlp", "traces.otlp"]
    for hour, name in enumerate(names):
        (tmp_path / name).write_bytes(framed(name.encode()))
        os.utime(tmp_path / name, (1000 + hour * 100, 1000 + hour * 100))
    (tmp_path / "traces-notes.otlp").write_bytes(b"not the exporter's")
    (tmp_path / "logs.otlp").write_bytes(framed(b"logs"))

    def found(begin: float, end: float) -> list[str]:
        chosen = files(tmp_path, "traces", begin, end)
        for file in chosen:
            file.close()
        return [file.path.name for file in chosen]

    assert found(0, 9999) == names
    assert found(1050, 1080) == [names[1]], "the first was written before, the third after the second was full"
    assert found(1050, 1150) == names[1:]
    assert found(1201, 1300) == []


def test_a_rotation_between_looking_and_reading_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "traces.otlp"
    path.write_bytes(framed(b"one"))
    (file,) = files(tmp_path, "traces")
    path.rename(tmp_path / "traces-2026-01-01T12-00-00.000-size.otlp")
    path.write_bytes(framed(b"two"))
    with file:
        assert list(file.messages()) == [b"one"]
        assert list(file.messages()) == [b"one"], "it can be read again"


def test_nothing_recorded_is_no_file_and_no_error(tmp_path: Path) -> None:
    assert files(tmp_path / "recorded", "traces") == []
    (tmp_path / "logs.otlp").touch()
    (empty,) = files(tmp_path, "logs")
    with empty:
        assert list(empty.messages()) == []
        assert not empty.cut


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "traces.otlp").mkdir()
    with pytest.raises(RecordingError, match=r"traces\.otlp cannot be read: "):
        files(tmp_path, "traces")
