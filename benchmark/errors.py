"""The one way in which the harness says no: expected, found, what to do.

Every error that a user can cause is a `RequestError` (or a subclass of it named after its floor). The command line
prints it as one line and exits with 2; anything else that escapes is a defect of the harness.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RequestError(Exception):
    """A request that makes no sense as it stands.

    Args:
        expected: what the harness needed, in a few words.
        found: what was there instead, with the name of the file, key or argument.
        todo: what the user can do about it.
    """

    def __init__(self, expected: str, found: str, todo: str) -> None:
        self.expected, self.found, self.todo = expected, found, todo
        super().__init__(expected, found, todo)

    def __str__(self) -> str:
        text = f"expected {self.expected}; found {self.found}; {self.todo}"
        return " ".join(text.split())  # one line whatever the parts contain


class CheckpointError(RequestError):
    """A weights file that cannot be opened, recognised or accounted for."""


class BackboneError(RequestError):
    """An encoder that cannot be built, or does not give what was asked of it."""


class DataError(RequestError):
    """A source, split, label or image that is not what it should be."""


class SuiteError(RequestError):
    """An unknown suite, task, protocol or setting."""


class ResultError(RequestError):
    """A stored result or prediction that is missing, malformed or contradicts itself."""


class NotApplicable(RequestError):
    """A task that has no meaning on this dataset or checkpoint (it is listed, not run, and is no failure)."""


def nearest(name: str, known: Iterable[str], n: int = 3) -> str:
    """The valid names closest to a wrong one, as the end of a sentence ("did you mean a, b? known: ...")."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=n, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(close) + "?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"known: {shown or '(none)'}"
