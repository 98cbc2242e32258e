"""Takes secrets out of what leaves this machine: every key, token and password of the settings, wherever it stands and however encoded,
and the password in any address.

Telemetry should hold none, but a request may carry anything, and an exported file is handed to other people.
"""

from __future__ import annotations

import base64
import re
from typing import Final
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from compose.settings import Settings

#: What stands in the place of a secret.
REMOVED: Final = "[secret]"
#: Shorter values are not looked for: they would be found in ordinary words. No vendor's key is as short.
SHORTEST: Final = 8

#: ``scheme://user:password@``, also where JSON has escaped the slashes.
_USERINFO: Final = re.compile(r"(?:(?<=://)|(?<=:\\/\\/))[^\s/@:\"'\\]*:[^\s/@\"'\\]+(?=@)")
#: An AWS access key id ("IAM identifiers": AKIA for long-term, ASIA for temporary credentials).
_ACCESS_KEY: Final = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")
#: Backslashes before an escaped character: one in JSON, three in JSON within JSON, and so on. Bounded, or a long row of them takes long.
_ESCAPE: Final = r"\\{1,15}"
#: What JSON has short escapes for.
_SHORT: Final = {"\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}


class Secrets:
    """What must not be written."""

    def __init__(self, values: frozenset[str]) -> None:
        forms = {form for value in values if len(value) >= SHORTEST for form in _forms(value)}
        # The longest first, so that none is left over of one that holds another.
        patterns = [_written(form) for form in sorted(forms, key=len, reverse=True)]
        self._pattern = re.compile("|".join(patterns)) if patterns else None

    @classmethod
    def of(cls, settings: Settings) -> Secrets:
        """Every secret of the settings."""
        fields = (getattr(settings, name) for name in type(settings).model_fields)
        values = {field.get_secret_value() for field in fields if isinstance(field, SecretStr)} | {settings.aws_access_key_id}
        password = urlsplit(settings.database_url).password if settings.database_url else None
        return cls(frozenset(values | ({password, unquote(password)} if password else set())))

    def removed(self, text: str) -> str:
        """``text`` without them. Text that holds none comes back as it is; JSON stays JSON."""
        if self._pattern is not None:
            text = self._pattern.sub(REMOVED, text)
        return _ACCESS_KEY.sub(REMOVED, _USERINFO.sub(REMOVED, text))


def _forms(value: str) -> set[str]:
    """A secret as it is, and in Base64 of either alphabet ("The Base16, Base32, and Base64 Data Encodings", RFC 4648), wherever in the
    encoded text it begins."""
    forms = {value}
    raw = value.encode()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        # The first and last characters also hold bits of what stands beside it.
        inner = encoded[(0, 2, 3)[offset] :]
        inner = inner[: len(inner) - (1 if (offset + len(raw)) % 3 else 0)]
        if len(inner) >= SHORTEST:
            forms |= {inner, inner.replace("+", "-").replace("/", "_")}
    return forms


def _written(form: str) -> str:
    """A pattern of all the ways in which a form may be written: each character that is no letter or digit as it is, percent-encoded, or
    escaped as JSON does it, JSON within JSON included."""
    return "".join(_character(each) for each in form)


def _character(each: str) -> str:
    if each.isascii() and each.isalnum():
        return each
    ways = [
        re.escape(each),
        _any_case("".join(f"%{byte:02X}" for byte in each.encode())),
        "".join(rf"{_ESCAPE}u{_any_case(unit)}" for unit in _utf16(each)),
    ]
    if each in _SHORT:
        ways.append(_ESCAPE + _SHORT[each])
    elif each in '"/':
        ways.append(_ESCAPE + each)
    elif each == "\\":
        ways.append(_ESCAPE)
    elif each == " ":
        ways.append(r"\+")  # in a query
    return f"(?:{'|'.join(ways)})"


def _any_case(text: str) -> str:
    return "".join(f"[{each.upper()}{each.lower()}]" if each.isalpha() else each for each in text)


def _utf16(each: str) -> list[str]:
    """A character's code units, four hex digits each."""
    raw = each.encode("utf-16-be")
    return [raw[at : at + 2].hex() for at in range(0, len(raw), 2)]
