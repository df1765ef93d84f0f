"""What a run tells people while it works: the plan, progress bars with rates and ETA, one line per cell."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as BarTask
from rich.table import Table
from rich.text import Text

from benchmark.results.schema import ModelRecord, Result
from benchmark.runner.cells import Cell
from benchmark.runner.plan import Plan
from benchmark.runner.request import RunRequest
from benchmark.runner.summary import Summary

Update = Callable[[int, int, str], None]
_QUIET_LOG_SECONDS = 30.0


class _Rate(ProgressColumn):
    """Units per second, for bars that count images."""

    def render(self, task: BarTask) -> Text:
        """The rate, once there is one."""
        speed = task.finished_speed or task.speed
        unit = task.fields.get("unit", "")
        return Text(f"{speed:,.0f} {unit}/s" if speed and unit else "", style="progress.data.speed")


class Reporter:
    """Writes to a rich console (stderr by default, so that tables can be piped)."""

    def __init__(self, console: Console | None = None, quiet: bool = False) -> None:
        self.console = console or Console(stderr=True, width=None if sys.stderr.isatty() else 140)
        self.quiet = quiet

    def say(self, text: str) -> None:
        """A plain line."""
        if not self.quiet:
            self.console.print(text, highlight=False, soft_wrap=True)

    def plan(self, plan: Plan) -> None:
        """What will run, what is there already, and about how long it takes."""
        if self.quiet:
            return
        table = Table(title=f"{plan.suite.name}: {len(plan.cells)} cells on {plan.device}", title_justify="left")
        for column in ("dataset", "task", "protocol"):
            table.add_column(column)
        for column in ("to do", "done", "failed"):
            table.add_column(column, justify="right")
        table.add_column("note")
        grouped: dict[tuple[str, str, str], list[Cell]] = {}
        for cell in plan.cells:
            grouped.setdefault((cell.dataset, cell.key.task, cell.key.protocol), []).append(cell)
        for (dataset, task, protocol), cells in grouped.items():
            states = Counter(cell.state for cell in cells)
            reasons = {cell.reason for cell in cells if cell.state == "not applicable"}
            note = "not applicable: " + "; ".join(sorted(reasons)) if reasons else ""
            counts = (str(states[state] or "") for state in ("todo", "done", "failed"))
            table.add_row(escape(dataset), task, protocol, *counts, escape(note))
        self.console.print(table)
        for name, record in plan.records.items():
            self.say(
                f"[bold]{escape(name)}[/]: {escape(record.arch)}, {record.params / 1e6:.2f} M parameters, "
                f"representation {record.default_representation}"
            )
            self.say(f"  preprocessing: {escape(_preprocessing(record))}")
            for notice in record.notices:
                self.say(f"  [yellow]note[/] {escape(notice)}")
        for data in plan.datasets.values():
            for notice in data.notices:
                self.say(f"[yellow]note[/] {escape(data.name)}: {escape(notice)}")
        images = sum(each.images for each in plan.passes)
        if images:
            about = f", about {duration(plan.seconds)}" if plan.seconds else ""
            self.say(
                f"to encode: {images:,} images{about} for the forward pass alone; decoding and the tasks come on top"
            )
            stored = sum(each.stored for each in plan.passes)
            if stored:
                self.say(f"to store: {stored / 1e9:,.1f} GB of patch features in {escape(str(plan.request.cache))}")
        elif any(set(cell.planned.needs) & {"pooled", "patch"} for cell in plan.todo()):
            self.say("to encode: nothing, all features are stored")
        reading = sum("backbone" in cell.planned.needs for cell in plan.todo())
        if reading:
            self.say(f"cells that read images themselves, to train on them or to change them: {reading}")

    @contextlib.contextmanager
    def bar(self, label: str, unit: str = "") -> Iterator[Update]:
        """A progress bar; yields `update(done, total, what)`. On a pipe: a line every half minute instead."""
        if self.quiet:
            yield lambda done, total, what: None
        elif not self.console.is_terminal:
            yield self._lines(label, unit)
        else:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                _Rate(),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=self.console, transient=True) as progress:
                task = progress.add_task(label, total=None, unit=unit)

                def update(done: int, total: int, what: str) -> None:
                    progress.update(task, completed=done, total=total, description=f"{label} {what}")

                yield update

    def _lines(self, label: str, unit: str) -> Update:
        started = last = time.monotonic()
        start, before, of = 0, 0, None

        def update(done: int, total: int, what: str) -> None:
            nonlocal started, last, start, before, of
            now = time.monotonic()
            if of not in (None, total) or done < before:  # another stage of the cell: its rate is its own
                started, start = now, done
            before, of = done, total
            if now - last >= _QUIET_LOG_SECONDS and done > start:
                last = now
                rate = (done - start) / (now - started)
                left = duration((total - done) / rate)
                self.say(f"{label} {what}: {done:,}/{total:,}, {_pace(rate)} {unit or 'steps'}/s, {left} left")

        return update

    def cell(self, cell: Cell, result: Result, done: int, total: int) -> None:
        """One finished cell."""
        head = f"[dim]{done:>{len(str(total))}}/{total}[/] {escape(str(cell.key))}"
        if result.status == "failed":
            message = result.error.message if result.error else ""
            self.say(f"{head}  [red]failed[/]: {escape(message)}")
            return
        metric = result.metric()
        interval = escape(f"[{metric.ci_low:.2f}, {metric.ci_high:.2f}]")
        took = duration(result.provenance.wall_time_s)
        self.say(f"{head}  [bold]{metric.name} {metric.value:.2f}[/] {interval} [dim]{took}[/]")

    def summary(self, summary: Summary, request: RunRequest) -> None:
        """What the run did, in a line or two."""
        parts = [f"{summary.made} cells made"] if summary.made else ["nothing to do: every cell is stored"]
        if summary.elsewhere:
            parts.append(f"{summary.elsewhere} made by another run")
        if summary.encoded:
            parts.append(f"{summary.encoded:,} images encoded")
        self.say(f"{', '.join(parts)}; results in {escape(str(request.out))}")
        for cell in summary.failed:
            self.say(f"[red]failed[/] {escape(str(cell.key))}")
        for cell in summary.stored_failed:
            self.say(f"[red]failed before[/] {escape(str(cell.key))}: run again with --overwrite failed")


def _pace(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def _preprocessing(record: ModelRecord) -> str:
    p = record.preprocessing
    height, width = p["size"]
    statistics = f"mean {_short(p['mean'])}, std {_short(p['std'])}"
    geometry = f"{p['mode']} {height}x{width}, crop_pct {p['crop_pct']:g}, {p['interpolation']}"
    return f"{geometry}, {statistics} ({p['source']})"


def _short(values: Sequence[float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else " ".join(f"{value:g}" for value in values)


def duration(seconds: float | None) -> str:
    """A time for people: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None:
        return "unknown"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    if whole < 5400:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
