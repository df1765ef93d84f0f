"""Options of sources: typed, every key known, every refusal in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.errors import DataError, nearest


class Options(BaseModel):
    """What may follow the `?` of a source; each source subclasses it with its own fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


AnyOptions = TypeVar("AnyOptions", bound=Options)


def describe(kind: type[Options]) -> dict[str, str]:
    """Option name -> its default, as written on the command line (`-` where there is none)."""
    fields = kind.model_fields.items()
    return {name: "-" if field.default is None else str(field.default).lower() for name, field in fields}


def parse(kind: type[AnyOptions], given: Mapping[str, str], source: str) -> AnyOptions:
    """Reads `key=value` pairs into typed options.

    Args:
        kind: the options class of the source.
        given: the pairs as written.
        source: the source as written, for messages.

    Raises:
        DataError: an unknown key (names the nearest and all valid ones) or a value of the wrong kind.
    """
    valid = list(kind.model_fields)
    for key in given:
        if key not in valid:
            known = f"valid options: {', '.join(valid)}" if valid else "this source takes no options"
            raise DataError("an option that the source has", f"{key!r} in {source!r}", f"{nearest(key, valid)} {known}")
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = str(first["msg"]).removeprefix("Value error, ")
        where = f"{key}={first['input']!r} in {source!r}" if key else f"{source!r}"
        raise DataError("options with valid values", f"{where}: {reason}", "correct it") from None
