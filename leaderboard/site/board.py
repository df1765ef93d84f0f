"""What the site shows: models, columns and cells from stored results, with names for their pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from benchmark.errors import ResultError
from benchmark.results.schema import ModelRecord, Result
from benchmark.results.store import safe_name
from leaderboard.families import family_of_column
from leaderboard.pairwise import Pairs, best_first, clear_winner, compare_all
from leaderboard.tables import Column, Entry, mean_over_seeds, wide_columns

TESTED = 1500
"""Results whose predictions are read for paired tests, over all columns; the best models of each come first."""


@dataclass(frozen=True)
class Figure:
    """A model's headline in a column.

    Attributes:
        place: rank by the figure, 1 is best.
        value: mean over seeds.
        low, high: the widest seed's 95% interval, moved to the mean.
    """

    place: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class BoardColumn:
    """A column with its page.

    Attributes:
        column: the results.
        slug: the name of its page, without the ending.
        family: kind of transfer.
        figures: by model, best first.
        pairs: the models that were tested, each with each.
        winner: the model that is better than every other one, where that is clear.
    """

    column: Column
    slug: str
    family: str
    figures: dict[str, Figure]
    pairs: Pairs
    winner: str | None

    @property
    def label(self) -> str:
        """As tables label it."""
        return self.column.label

    @property
    def example(self) -> Result:
        """A result of the column: what all of them share can be read off it."""
        return next(iter(self.column.cells.values()))[0].result


@dataclass(frozen=True)
class BoardModel:
    """A model with its page.

    Attributes:
        record: what results say of it.
        slug: the name of its page, without the ending.
        entries: its results.
        throughput: images per second by where that was measured (`hardware, device, precision`).
    """

    record: ModelRecord
    slug: str
    entries: tuple[Entry, ...]
    throughput: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What results call it."""
        return self.record.name


@dataclass(frozen=True)
class Board:
    """Everything on the site.

    Attributes:
        title: of its pages.
        models: in the order of their mean rank over the columns that they have.
        columns: families together, in the order of first appearance.
        untested: whether some models were left out of the paired tests because there are many.
    """

    title: str
    models: tuple[BoardModel, ...]
    columns: tuple[BoardColumn, ...]
    untested: bool

    @property
    def entries(self) -> list[Entry]:
        """All results."""
        return [entry for model in self.models for entry in model.entries]


def make_board(entries: Sequence[Entry], title: str, tested: int = TESTED) -> Board:
    """The board of stored results.

    Raises:
        ResultError: no result is done.
    """
    columns = [column for column in wide_columns(entries) if column.cells]
    if not columns:
        raise ResultError("a finished result", f"{len(entries)} that failed", "mend what failed and run again")
    families = list(dict.fromkeys(family_of_column(column) for column in columns))
    columns.sort(key=lambda column: families.index(family_of_column(column)))
    slugs = _slugs([column.label for column in columns])
    most = max(2, tested // len(columns))
    shown = []
    for column, slug in zip(columns, slugs, strict=True):
        figures = _figures(column)
        pairs = compare_all(column, list(figures)[:most])
        shown.append(BoardColumn(column, slug, family_of_column(column), figures, pairs, clear_winner(column, pairs)))
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.result.model.name, []).append(entry)
    names = _by_mean_rank(groups, shown)
    models = [
        BoardModel(_record(groups[name]), slug, tuple(groups[name]), _throughput(groups[name]))
        for name, slug in zip(names, _slugs(names), strict=True)
    ]
    return Board(title, tuple(models), tuple(shown), any(len(column.cells) > most for column in columns))


def _record(entries: Sequence[Entry]) -> ModelRecord:
    """The model as its newest result has it: cards are filled in as time goes by."""
    results = [entry.result for entry in entries]
    return max(results, key=lambda result: (not _dense(result), result.provenance.finished)).model


def _dense(result: Result) -> bool:
    """Whether the encoder was fed images of a protocol's size instead of its own."""
    return result.protocol.representation == "patch"


def _throughput(entries: Iterable[Entry]) -> dict[str, float]:
    """The best rate by place, at the checkpoint's own size: others were held up by something."""
    found: dict[str, float] = {}
    for entry in entries:
        run = entry.result.provenance
        if run.images_per_s and not _dense(entry.result):
            where = f"{run.hardware}, {run.device}, {run.precision}"
            found[where] = max(found.get(where, 0.0), run.images_per_s)
    return found


def _by_mean_rank(names: Iterable[str], columns: Sequence[BoardColumn]) -> list[str]:
    """Names by mean rank, as a share of each column's models; those without a figure last."""
    shares: dict[str, list[float]] = {name: [] for name in names}
    for column in columns:
        for model, figure in column.figures.items():
            shares[model].append((figure.place - 1) / max(1, len(column.figures) - 1))
    return sorted(shares, key=lambda name: (fmean(shares[name]) if shares[name] else 2.0, name))


def _slugs(names: Sequence[str]) -> list[str]:
    """File names for pages, different also where case does not count."""
    plain = [safe_name(name.replace("/", "-")) for name in names]
    seen: Counter[str] = Counter()
    found = []
    for slug in plain:
        seen[slug.lower()] += 1
        times = seen[slug.lower()]
        found.append(slug if times == 1 else f"{slug}~{times}")
    return found


def _figures(column: Column) -> dict[str, Figure]:
    found = {}
    for place, model in enumerate(best_first(column), 1):
        values = column.values(model)
        mean = mean_over_seeds(values)
        widest = max(values, key=lambda value: value.ci_high - value.ci_low)
        shift = mean - widest.value
        found[model] = Figure(place, mean, widest.ci_low + shift, widest.ci_high + shift)
    return found
