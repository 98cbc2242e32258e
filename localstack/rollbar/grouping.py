"""Which occurrences belong together: Rollbar's documented default fingerprint. Pure.

Source: "Default Grouping Algorithm" and "Customizing Fingerprints in Code" in Rollbar's documentation. Rollbar first tries patterns it
learned from all its customers; those are not public, so this is the documented fallback. Whoever needs the same groups here and at
Rollbar sends a ``fingerprint``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

#: Longest fingerprint that is used as it is; a longer one is replaced by its SHA1.
FINGERPRINT_LENGTH = 40

#: Stands for ``server.root`` at the start of a file name, so that moving the application changes no group.
ROOT = "{root}"

_DATE = re.compile(r"(?<!\d)\d{4}([-_.]?)\d{2}\1\d{2}(?:[T_-]?\d{2}[:_-]?\d{2}[:_-]?\d{2})?(?!\d)")
_SHA = re.compile(r"(?<![0-9a-zA-Z])(?=[0-9a-f]*\d)[0-9a-f]{7,40}(?![0-9a-zA-Z])")
_LONG_INTEGER = re.compile(r"\d{2,}")

# In this order: the later patterns would eat parts of what the earlier ones mean. Each starts where it cannot have started one
# character earlier, or is bounded, so that no text takes more than linear time.
_LOOKS_LIKE_DATA = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}",  # email
        r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?",  # date, with or without a time
        r"\b\d{1,2}[/.]\d{1,2}[/.]\d{4}\b",  # date
        r"\b\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?\b",  # time of day
        r"\b\d{1,3}(?:\.\d{1,3}){3}\b",  # IPv4
        r"(?<![\w:])(?=[0-9a-f:]{0,39}:[0-9a-f:]{0,39}:)(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])",  # IPv6
        r"(?<!\d)\d+\.\d+",  # number with a decimal point
        r"\b0x[0-9a-f]+\b",  # hexadecimal
        r"\b(?=[a-f]*\d)[0-9a-f]{4,}\b",  # hexadecimal of four digits and more; a word without a digit is a word
        r"\d{2,}",  # integer of two digits and more
    )
)

#: Parts of a path that mark a frame as the framework's or the language's, not the application's.
_FRAMEWORK = re.compile(r"[/\\](?:site-packages|dist-packages|node_modules|gems)[/\\]|[/\\]lib[/\\]python\d[\d.]*[/\\]|^<frozen ")


def fingerprint(data: Mapping[str, Any]) -> str:
    """The fingerprint of a valid payload's ``data``: at most 40 characters, equal for occurrences of one item.

    An explicit ``fingerprint`` wins. Exceptions are told apart by the files and methods of their frames and by their class; messages
    and crash reports by what is left of their text without what looks like data.
    """
    explicit = data.get("fingerprint")
    if explicit:
        return explicit if len(explicit) <= FINGERPRINT_LENGTH else _sha1([explicit])
    body = data["body"]
    if "message" in body:
        return _sha1([message_text(body["message"]["body"])])
    if "crash_report" in body:
        return _sha1([message_text(body["crash_report"]["raw"])])
    traces = body["trace_chain"] if "trace_chain" in body else [body["trace"]]
    server = data.get("server")
    root = server.get("root") if isinstance(server, Mapping) else None
    return _sha1(part for trace in traces for part in _trace_parts(trace, root if isinstance(root, str) else ""))


def message_text(text: str) -> str:
    """``text`` without what looks like data: dates, emails, addresses, decimals, long integers and hexadecimals."""
    for pattern in _LOOKS_LIKE_DATA:
        text = pattern.sub("", text)
    return text


def file_name(name: str, root: str) -> str:
    """A frame's file name as it counts for grouping: the root made constant, without dates and SHAs."""
    root = root.rstrip("/\\")
    if root and name.startswith((root + "/", root + "\\")):
        name = ROOT + name[len(root) :]
    return _SHA.sub("", _DATE.sub("", name))


def method_name(name: str) -> str:
    """A frame's method name as it counts for grouping: without integers of two digits and more."""
    return _LONG_INTEGER.sub("", name)


def _trace_parts(trace: Mapping[str, Any], root: str) -> Iterable[str]:
    for frame in _own_frames(trace["frames"]):
        yield file_name(frame["filename"], root)
        yield method_name(frame.get("method") or "")
    yield trace["exception"]["class"]


def _own_frames(frames: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The application's frames; all of them when the framework's are the only ones."""
    return [frame for frame in frames if not _FRAMEWORK.search(frame["filename"])] or frames


def _sha1(parts: Iterable[str]) -> str:
    # A separator no name contains, so that "a" + "bc" and "ab" + "c" differ. SHA1 is what Rollbar documents.
    text = "\0".join(parts)
    return hashlib.sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
