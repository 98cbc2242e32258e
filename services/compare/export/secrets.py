"""Takes secrets out of what leaves this machine: every key, token and password of the settings, wherever it stands and however encoded,
and the password in any address.

Telemetry should hold none, but a request may carry anything, and an exported file is handed to other people.
"""

from __future__ import annotations

import base64
import re
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from pydantic import SecretStr

from compose.settings import Settings

#: What stands in the place of a secret.
REMOVED: Final = "[secret]"
#: Shorter values are not looked for: they would be found in ordinary words. No vendor's key is as short.
SHORTEST: Final = 8

#: ``scheme://user:password@``.
_USERINFO: Final = re.compile(r"(?<=://)[^\s/@:\"'\\]*:[^\s/@\"'\\]+(?=@)")
#: An AWS access key id ("IAM identifiers": AKIA for long-term, ASIA for temporary credentials).
_ACCESS_KEY: Final = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")


class Secrets:
    """What must not be written."""

    def __init__(self, values: frozenset[str]) -> None:
        forms = {form for value in values if len(value) >= SHORTEST for form in _forms(value)}
        # The longest first, so that none is left over of one that holds another.
        self._pattern = re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True)))) if forms else None

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
    """How a secret may be written: as it is, in JSON, in an address, and in Base64 wherever in the encoded text it begins."""
    forms = {value, value.replace("\\", "\\\\").replace('"', '\\"').replace("/", "\\/"), quote(value, safe=""), quote(value)}
    raw = value.encode()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        # The first and last characters also hold bits of what stands beside it.
        inner = encoded[(0, 2, 3)[offset] :]
        inner = inner[: len(inner) - (1 if (offset + len(raw)) % 3 else 0)]
        if len(inner) >= SHORTEST:
            forms.add(inner)
    return forms
