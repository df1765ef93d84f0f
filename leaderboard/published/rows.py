"""The published figures, typed and checked when read.

`published.csv` holds facts gathered from public READMEs, model cards, result files and paper abstracts; each row names
its source. A fact is nobody's property, so the file comes under the project's own licence; no text of a source is
copied. A figure is kept as printed, because how many digits were printed says how far it was rounded.

    published_rows() -> tuple[PublishedRow, ...]      every row, in the order of the file
    read_rows(path) -> tuple[PublishedRow, ...]       the same from another file
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from benchmark.errors import ResultError, nearest

Confidence = Literal["cell-checked", "cell-checked-quoted", "seen-in-text"]

COLUMNS = (
    "method", "arch", "pretrain_data", "epochs", "task", "metric", "value", "source", "confidence", "flag", "weights"
)  # fmt: skip
SHIPPED = Path(__file__).with_name("published.csv")

UNBOUNDED = frozenset({"rmse", "mCE"})
"""Metres, and an error relative to AlexNet's: the only figures that may pass 100."""
LESS_IS_BETTER = frozenset({"rmse", "mCE", "error"})
METRICS = LESS_IS_BETTER | {
    "top1", "top5", "mean_per_class", "worst_group_top1", "worst_group_top5", "robust_top1", "AP", "mask_AP", "AP50",
    "AP75", "mIoU", "mAP", "uAP", "CorLoc", "maxF", "IoU", "pixel_acc", "NMI", "ARI", "AMI", "cluster_acc", "rank1",
    "MAR@10", "AUC", "score",
}  # fmt: skip
"""Names of published metrics: percent, except `rmse`. `score` is a figure whose source does not name its metric."""

_FIGURE = re.compile(r"\d+(\.\d+)?")
_TASK = re.compile(r"[a-z0-9+-]+/[A-Za-z0-9+@.-]+")


@dataclass(frozen=True)
class PublishedRow:
    """A figure that somebody published.

    Attributes:
        method: plain name.
        arch: timm-like, without the image size; None where the source does not say.
        pretrain_data: what it was pre-trained on; None where the source does not say.
        epochs: of pre-training; None where the source does not say.
        task: `dataset/protocol` as the table names protocols, `@N` for N pixels where that is not 224.
        metric: one of `METRICS`.
        value: as printed; percent, `rmse` in metres.
        source: repository and file, or abstract.
        confidence: compared with its cell; compared, and the source repeats another work's figure; or read in a text.
        flag: a caveat; one that starts with SUSPECT says that the figure is probably wrong.
        weights: name of the released weights; None where that is not known.
        line: in the file.
    """

    method: str
    arch: str | None
    pretrain_data: str | None
    epochs: int | None
    task: str
    metric: str
    value: Decimal
    source: str
    confidence: Confidence
    flag: str
    weights: str | None
    line: int

    @property
    def dataset(self) -> str:
        """The part of the task before the slash."""
        return self.task.partition("/")[0]

    @property
    def suspect(self) -> bool:
        """Whether the figure is shown only, and never compared with."""
        return self.flag.startswith("SUSPECT")

    @property
    def approximate(self) -> bool:
        """Whether the source itself says that the figure is not exact."""
        return "close to" in self.flag or "approximate" in self.flag

    @property
    def half_unit(self) -> float:
        """Half of the last printed digit: 0.05 for 74.5, which stands for anything in 74.45..74.55."""
        exponent = self.value.as_tuple().exponent
        assert isinstance(exponent, int)  # the pattern of a figure has no NaN
        return 0.5 * 10.0**exponent

    @property
    def higher_is_better(self) -> bool:
        """Direction of the metric."""
        return self.metric not in LESS_IS_BETTER


@cache
def published_rows() -> tuple[PublishedRow, ...]:
    """Every row of the shipped file."""
    return read_rows(SHIPPED)


@cache
def weights_names() -> frozenset[str]:
    """Names of released weights that the shipped file has figures of."""
    return frozenset(row.weights for row in published_rows() if row.weights)


def read_rows(path: Path) -> tuple[PublishedRow, ...]:
    """The rows of a file of published figures.

    Raises:
        ResultError: unreadable, other columns, a cell that is not what its column holds, a figure out of range, or one
            key (weights, task, metric, source) twice; with the line.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            lines = [(reader.line_num, cells) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ResultError("a readable CSV file in UTF-8", f"{path}: {error}", "restore the file") from error
    if not lines or tuple(lines[0][1]) != COLUMNS:
        found = ", ".join(lines[0][1]) if lines else "an empty file"
        raise ResultError(f"the columns {', '.join(COLUMNS)}", f"{path}:1: {found}", "restore the header")
    rows = tuple(_row(cells, f"{path.name}:{number}", number) for number, cells in lines[1:])
    _check_keys(rows, path)
    return rows


def _row(cells: list[str], where: str, line: int) -> PublishedRow:
    if len(cells) != len(COLUMNS):
        raise ResultError(f"{len(COLUMNS)} cells", f"{where}: {len(cells)}", "quote cells that hold commas")
    cell = dict(zip(COLUMNS, cells, strict=True))
    for name, text in cell.items():
        if text != text.strip() or not (text.isprintable()):
            raise ResultError(f"{name} without blanks around it or control characters", f"{where}: {text!r}", "trim it")
    for name in ("method", "source"):
        if not cell[name]:
            raise ResultError(f"a {name}", f"{where}: an empty cell", "a figure without it cannot be traced: fill it")
    if not _TASK.fullmatch(cell["task"]):
        raise ResultError("a task `dataset/protocol`", f"{where}: {cell['task']!r}", "correct it")
    if cell["metric"] not in METRICS:
        raise ResultError("a known metric", f"{where}: {cell['metric']!r}", nearest(cell["metric"], METRICS))
    if cell["epochs"] and not cell["epochs"].isdecimal():
        raise ResultError("a whole number of epochs, or nothing", f"{where}: {cell['epochs']!r}", "correct it")
    return PublishedRow(
        method=cell["method"],
        arch=cell["arch"] or None,
        pretrain_data=cell["pretrain_data"] or None,
        epochs=int(cell["epochs"]) if cell["epochs"] else None,
        task=cell["task"],
        metric=cell["metric"],
        value=_value(cell["value"], cell["metric"], where),
        source=cell["source"],
        confidence=_confidence(cell["confidence"], where),
        flag=cell["flag"],
        weights=cell["weights"] or None,
        line=line,
    )


def _value(text: str, metric: str, where: str) -> Decimal:
    if not _FIGURE.fullmatch(text):
        raise ResultError("a plain decimal figure as printed", f"{where}: {text!r}", "correct it")
    value = Decimal(text)
    if metric not in UNBOUNDED and value > 100:
        raise ResultError(f"{metric} in percent, 0 to 100", f"{where}: {text}", "correct the figure or its metric")
    return value


def _confidence(text: str, where: str) -> Confidence:
    for known in get_args(Confidence):
        if text == known:
            return known
    raise ResultError("a known confidence", f"{where}: {text!r}", nearest(text, get_args(Confidence)))


def _check_keys(rows: tuple[PublishedRow, ...], path: Path) -> None:
    seen: dict[tuple[str, str, str, str], int] = {}
    for row in rows:
        if row.weights is None:
            continue
        key = (row.weights, row.task, row.metric, row.source)
        if key in seen:
            found = f"{path.name}:{row.line}: {', '.join(key)}, which line {seen[key]} has too"
            raise ResultError("one figure per weights, task, metric and source", found, "remove one of them")
        seen[key] = row.line
