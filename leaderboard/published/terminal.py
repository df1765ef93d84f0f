"""Published figures beside measured ones, as a person reads them in a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from leaderboard.published.match import Comparison, LeftOut, beside, contradicted, left_out, unidentified
from leaderboard.tables import Entry

_CONFIDENCE = {"cell-checked-quoted": " (quotes another work)", "seen-in-text": " (read in the text only)"}


def render(entries: Sequence[Entry]) -> RenderableType:
    """A row per published figure, then what is contradicted or flagged, what is not compared and why, and a count."""
    comparisons = beside(entries)
    rest = left_out(entries)
    notes = [*_verdicts(comparisons), *_near_misses(rest), *_others(rest)]
    notes += [Text(f"{model}: {reason}", style="dim") for model, reason in unidentified(entries).items()]
    return Group(*([_table(comparisons)] if comparisons else []), *notes, Text(summary(comparisons), style="bold"))


def summary(comparisons: Sequence[Comparison]) -> str:
    """One line."""
    if not comparisons:
        return "published: no figure of the same weights under the same protocol"
    counts = Counter(_verdict(comparison) for comparison in comparisons)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    noun = "figure" if len(comparisons) == 1 else "figures"
    return f"published: {len(comparisons)} {noun} beside measured ones: {told}"


def _verdict(comparison: Comparison) -> str:
    if comparison.row.suspect:
        return "suspect"
    if comparison.contradicted is None:
        return "approximate"
    return "contradicted" if comparison.contradicted else "agrees"


_STYLES = {"contradicted": "bold red", "suspect": "yellow", "approximate": "yellow", "agrees": "green"}
_MARKS = {"contradicted": "✗", "suspect": "?", "approximate": "~", "agrees": "✓"}


def _table(comparisons: Sequence[Comparison]) -> Table:
    table = Table(
        title="Published figures of the same weights under the same protocol", title_justify="left", box=SIMPLE_HEAD
    )
    table.add_column("model", overflow="fold")
    table.add_column("dataset/task/metric", overflow="fold")
    for name in ("measured", "published", "difference"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    table.add_column("source", overflow="fold", style="dim")
    for comparison in comparisons:
        verdict = _verdict(comparison)
        measured = Text(f"{comparison.measured:.2f}")
        measured.append(f" ±{(comparison.ci_high - comparison.ci_low) / 2:.2f}", style="dim")
        difference = "" if comparison.difference is None else f"{comparison.difference:+.2f}"
        table.add_row(
            Text(comparison.model),
            Text(f"{comparison.dataset}/{comparison.task}/{comparison.metric}"),
            measured,
            Text(comparison.printed, style="italic"),
            Text(difference, style=_STYLES[verdict] if verdict == "contradicted" else ""),
            Text(f"{_MARKS[verdict]} {verdict}", style=_STYLES[verdict], no_wrap=True),
            Text(comparison.source + _CONFIDENCE.get(comparison.confidence, "")),
        )
    return table


def _verdicts(comparisons: Sequence[Comparison]) -> list[Text]:
    """A line per figure that is not simply confirmed, contradicted ones first."""
    lines = []
    for comparison in contradicted(comparisons):
        what = f"{comparison.model} · {comparison.dataset}/{comparison.task}/{comparison.metric}"
        text = f"{what}: measured {comparison.measured:.2f}, published {comparison.printed}: {comparison.reason}"
        lines.append(Text.assemble(("contradicted ", "bold red"), text + _caveat(comparison)))
    for comparison in comparisons:
        if not comparison.contradicted and comparison.flag:
            what = f"{comparison.model} · {comparison.dataset}/{comparison.task}/{comparison.metric}"
            lines.append(
                Text.assemble(("caveat ", "yellow"), f"{what}, published {comparison.printed}: {comparison.flag}")
            )
    return lines


def _caveat(comparison: Comparison) -> str:
    return f" ({comparison.flag})" if comparison.flag else ""


def _near_misses(rest: Sequence[LeftOut]) -> list[Text]:
    """Figures that a small difference of the run keeps apart: the reason is worth a line."""
    lines = []
    for one in rest:
        if one.near:
            what = f"{one.model} · {one.row.task}, published {one.row.metric} {one.row.value} ({one.row.source})"
            lines.append(Text.assemble(("not the same ", "yellow"), f"{what}: {one.reason}"))
    return lines


def _others(rest: Sequence[LeftOut]) -> list[Text]:
    """How many more published figures there are of each model, by reason."""
    counts: dict[str, Counter[str]] = {}
    for one in rest:
        if not one.near:
            counts.setdefault(one.model, Counter())[one.reason] += 1
    lines = []
    for model, reasons in counts.items():
        told = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        more = reasons.total()
        lines.append(
            Text(f"{model}: {more} more published {'figure' if more == 1 else 'figures'}: {told}", style="dim")
        )
    return lines
