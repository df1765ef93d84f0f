"""Importing mmdet and mmseg without what they say about themselves."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Leaves out words that mean nothing to a user: of optional parts that are not installed, and of docstrings."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        for category in (DeprecationWarning, SyntaxWarning):  # docstrings of mmdet; a SyntaxWarning from Python 3.12 on
            warnings.filterwarnings("ignore", "invalid escape sequence", category)
        warnings.filterwarnings("ignore", "Default ``avg_non_ignore`` is False", UserWarning)  # mmseg's own recipes
        yield
