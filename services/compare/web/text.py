"""How a text that somebody else wrote is shown: as text, whole or visibly cut, never as markup and never as an order to the reader's eye.

Control characters would vanish, and bidirectional ones would reorder what stands around them ("Unicode Security Considerations",
UTR 36): they are shown as their code. A text is isolated (``<bdi>``), so that one from right to left leaves its neighbours where they are.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from markupsafe import Markup, escape

#: Characters that are shown of a value in a line; of one that was opened; the raw data holds the rest.
LINE: Final = 160
OPENED: Final = 20_000

#: C0 without tab and line feed, DEL and C1, soft hyphen, zero width, directional marks, overrides and isolates, separators,
#: invisible operators, byte order mark, interlinear annotation, tags, and halves of surrogate pairs.
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def _visible(text: str) -> Markup:
    """``text`` escaped, with what cannot be seen as its code."""
    parts: list[Any] = []
    at = 0
    for match in _INVISIBLE.finditer(text):
        parts += [escape(text[at : match.start()]), Markup('<span class="code-point">U+{:04X}</span>').format(ord(match[0]))]
        at = match.end()
    parts.append(escape(text[at:]))
    return Markup("").join(parts)


def as_text(value: Any) -> str:
    """A value of telemetry as the text that is shown: a text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def shown(value: Any, limit: int = LINE) -> Markup:
    """A value on a line. What is longer than ``limit`` characters can be opened; beyond :data:`OPENED` it says how much is left out."""
    text = as_text(value)
    if len(text) <= limit:
        return Markup("<bdi>{}</bdi>").format(_visible(text))
    rest = Markup("")
    if len(text) > OPENED:
        rest = Markup('<p class="quiet">{:,} of {:,} characters; the raw data has them all.</p>').format(OPENED, len(text))
    return Markup(
        '<details class="long"><summary><bdi>{}</bdi>… <span class="quiet">{:,} characters</span></summary>'
        "<pre><bdi>{}</bdi></pre>{}</details>"
    ).format(_visible(text[:limit]), len(text), _visible(text[:OPENED]), rest)


def pretty(value: Any, limit: int = OPENED) -> Markup:
    """A value of telemetry as indented JSON, a text as it is; beyond ``limit`` characters it says how much is left out."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)
    rest = Markup("")
    if len(text) > limit:
        rest = Markup('<p class="quiet">{:,} of {:,} characters.</p>').format(limit, len(text))
    return Markup('<pre tabindex="0"><bdi>{}</bdi></pre>{}').format(_visible(text[:limit]), rest)


def plain(value: Any, limit: int = LINE) -> str:
    """For a title, a label or an attribute of an element, which cannot hold markup: cut, and with codes for what cannot be seen."""
    text = as_text(value)
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return _INVISIBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
