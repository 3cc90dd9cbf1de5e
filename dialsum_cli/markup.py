"""HTML and SVG out of values: what is text is escaped here, and nowhere else."""

import re
from html import escape

_VOID = frozenset({"meta"})
_NO_CHARACTER = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Html(str):
    """Markup that is finished: it is joined as it stands, while every other value is escaped."""

    __slots__ = ()


def html(*parts: object) -> Html:
    """The parts joined, those that are no `Html` escaped; what HTML can't hold becomes U+FFFD."""
    return Html("".join(part if isinstance(part, Html) else _escaped(part) for part in parts))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element; `class_` is the attribute class, `stroke_width` is stroke-width, and None leaves one out.

    Children and attributes are escaped but for `Html`.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{given}>" + ("" if name in _VOID else f"{html(*children)}</{name}>"))


def readable(value: object) -> str:
    """A value as text that can be shown: what is no character, such as a terminal's commands, becomes U+FFFD."""
    return _NO_CHARACTER.sub("\ufffd", str(value))


def _escaped(value: object) -> str:
    return escape(readable(value))
