"""Which versions of the schema are read, and how an older result becomes one of today.

A release that changes the schema raises `SCHEMA_VERSION` and adds the step from the version before it to `STEPS`. A
step is a pure function of the parsed JSON: it may rename, move and derive fields, and never invents a figure. Where a
version cannot be brought forward without inventing something, it has no step, and its files are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from benchmark.errors import ResultError

SCHEMA_VERSION: Final = 1
STEPS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Version -> what makes a document of that version one of the next. Version 1 is the first that was ever written."""


def migrated(document: Any, where: str) -> dict[str, Any]:
    """A parsed result of any version that is read, as one of `SCHEMA_VERSION`.

    Args:
        document: the parsed JSON.
        where: its file, for the error.

    Raises:
        ResultError: no object, no version, a newer version, or an older one without a step.
    """
    reads = f"this version reads {SCHEMA_VERSION}"
    if not isinstance(document, dict):
        raise ResultError("a stored result (a JSON object)", f"{where}: {type(document).__name__}", "check the file")
    version = document.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool):
        found = "no schema_version" if version is None else f"schema_version {version!r}"
        todo = f"every stored result has a whole number there ({reads}); delete the file to have the cell made again"
        raise ResultError("a stored result with its schema_version", f"{where}: {found}", todo)
    if version > SCHEMA_VERSION:
        raise ResultError(
            f"schema_version {SCHEMA_VERSION}", f"{where}: schema version {version}; {reads}", "upgrade transferbench"
        )
    while version < SCHEMA_VERSION:
        if version not in STEPS:
            todo = "read it with the release that wrote it, or run the cell again"
            raise ResultError(f"schema_version {SCHEMA_VERSION}", f"{where}: schema version {version}; {reads}", todo)
        document = {**STEPS[version](document), "schema_version": version + 1}
        version += 1
    return document
