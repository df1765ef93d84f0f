"""Data frames as text or bytes: CSV, Markdown, LaTeX (booktabs), JSON, Parquet."""

from __future__ import annotations

import io
from typing import Literal, get_args

import pandas as pd

from benchmark.errors import RequestError, nearest

Format = Literal["terminal", "csv", "md", "latex", "json", "parquet"]


def check_format(name: str) -> Format:
    """The format of that name.

    Raises:
        RequestError: there is none.
    """
    for known in get_args(Format):
        if name == known:
            return known
    raise RequestError("a table format", repr(name), nearest(name, get_args(Format)))


def encode(frame: pd.DataFrame, form: Format) -> bytes:
    """The frame in a format for programs or papers (`terminal` is not one)."""
    if form == "csv":
        return frame.to_csv(index=False, lineterminator="\n").encode()
    if form == "json":
        return (frame.to_json(orient="records", indent=1, force_ascii=False, double_precision=15) + "\n").encode()
    if form == "parquet":
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        return buffer.getvalue()
    shown = _for_reading(frame)
    if form == "md":
        return (shown.to_markdown(index=False, disable_numparse=True) + "\n").encode()
    if form == "latex":
        escaped = shown.rename(columns=_escape).map(_escape)
        styler = escaped.style.hide(axis="index")
        aligned = "l" + "r" * (len(shown.columns) - 1)
        return styler.to_latex(hrules=True, column_format=aligned).encode()  # hrules are booktabs' rules
    raise RequestError("a format for files", form, "use csv, md, latex, json or parquet")


def _for_reading(frame: pd.DataFrame) -> pd.DataFrame:
    """Two decimals, as the field quotes percents, and blanks where there is nothing."""

    def show(value: object) -> str:
        if value is None or value is pd.NA or (isinstance(value, float) and pd.isna(value)):
            return ""
        return f"{value:.2f}" if isinstance(value, float) else str(value)

    return frame.astype(object).map(show)


def _escape(text: str) -> str:
    for plain, latex in (("\\", r"\textbackslash "), ("_", r"\_"), ("%", r"\%"), ("&", r"\&"), ("#", r"\#")):
        text = text.replace(plain, latex)
    return text
