"""Two runs as JUnit XML, which every CI reads: one test case a check, in a suite for each path and one for the client.

The form is that of "JUnit XML format" as Jenkins and GitLab read it: ``testsuites``, ``testsuite``, ``testcase`` with ``failure`` (beyond
the threshold), ``error`` (cannot be compared) or ``skipped`` (too few were measured).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree as xml

from services.compare.differences.contrast import Check, Contrast
from services.compare.differences.texts import RESULTS, change, failure, value

#: What XML 1.0 cannot hold ("Characters", Extensible Markup Language 1.0).
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(contrast: Contrast) -> str:
    """The XML document."""
    suites: dict[str, list[Check]] = {}
    for check in contrast.checks:
        suites.setdefault(check.where, []).append(check)
    root = xml.Element("testsuites", _counts(contrast.checks) | {"name": "parallax compare"})
    for where, checks in suites.items():
        suite = xml.SubElement(root, "testsuite", _counts(checks) | {"name": _text(where)})
        properties = xml.SubElement(suite, "properties")
        for name, text in (("run", contrast.after.document["run"]), ("with", contrast.before.document["run"])):
            xml.SubElement(properties, "property", {"name": name, "value": _text(str(text))})
        for check in checks:
            case = xml.SubElement(suite, "testcase", {"classname": _text(f"parallax.{where}"), "name": _text(check.what)})
            if check.result == "exceeded":
                xml.SubElement(case, "failure", {"type": check.kind, "message": _text(failure(check))})
            elif check.result == "unknown":
                xml.SubElement(case, "error", {"type": check.kind, "message": _text(failure(check))})
            elif check.result == "too few":
                xml.SubElement(case, "skipped", {"message": RESULTS[check.result][1]})
            out = xml.SubElement(case, "system-out")
            out.text = _text(
                f"{value(check.before, check.unit)} -> {value(check.after, check.unit)} ({change(check)}), accepted {check.limit}"
            )
    xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(root, encoding="unicode") + "\n"


def _counts(checks: Iterable[Check]) -> dict[str, str]:
    results = [check.result for check in checks]
    return {
        "tests": str(len(results)),
        "failures": str(results.count("exceeded")),
        "errors": str(results.count("unknown")),
        "skipped": str(results.count("too few")),
    }


def _text(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)
