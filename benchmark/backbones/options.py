"""Text from the command line as typed values: `NAME?key=value&key=value` and its parts."""

from __future__ import annotations

import math

from benchmark.errors import BackboneError

Value = int | float | bool | str | tuple["Value", ...]


def number(name: str, text: str) -> float:
    """A finite number.

    Raises:
        BackboneError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BackboneError(f"a number for {name}", repr(text), f"write for instance {name}=0.5")
    return value


def boolean(name: str, text: str) -> bool:
    """`true` or `false`.

    Raises:
        BackboneError: it is neither.
    """
    lowered = text.lower()
    if lowered not in ("true", "false", "1", "0", "yes", "no"):
        raise BackboneError(f"true or false for {name}", repr(text), f"write {name}=true or {name}=false")
    return lowered in ("true", "1", "yes")


def value(text: str) -> Value:
    """A value by its look: `3`, `0.1`, `true`, `(2,2,6,2)` or `2,2,6,2`, and anything else as a string."""
    text = text.strip()
    inner = text[1:-1] if text[:1] in "([" and text[-1:] in ")]" and len(text) > 1 else text
    if "," in inner:
        return tuple(value(part) for part in inner.split(",") if part.strip())
    if inner.lower() in ("true", "false"):
        return inner.lower() == "true"
    for kind in (int, float):
        try:
            return kind(inner)
        except ValueError:
            continue
    return text


def split_options(text: str) -> tuple[str, dict[str, Value]]:
    """`NAME?a=1&b=x` -> (`NAME`, {"a": 1, "b": "x"}).

    Raises:
        BackboneError: an option that is not key=value, or given twice.
    """
    name, _, query = text.partition("?")
    options: dict[str, Value] = {}
    for part in query.split("&") if query else ():
        key, equals, written = (piece.strip() for piece in part.partition("="))
        if not (key.isidentifier() and equals and written):
            raise BackboneError("options as NAME?key=value&key=value", f"{part!r} in {text!r}", "write key=value")
        if key in options:
            raise BackboneError("each option once", f"{key} given twice in {text!r}", "leave one of them out")
        options[key] = value(written)
    return name.strip(), options


def written(options: dict[str, Value]) -> str:
    """The options as canonical text (`?a=1&b=x`, sorted), or nothing."""

    def show(item: Value) -> str:
        if isinstance(item, tuple):
            return "(" + ",".join(show(part) for part in item) + ")"
        return str(item).lower() if isinstance(item, bool) else str(item)

    return "?" + "&".join(f"{key}={show(options[key])}" for key in sorted(options)) if options else ""
