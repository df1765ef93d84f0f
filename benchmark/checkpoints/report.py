"""What `inspect` says about a checkpoint: one dictionary for programs, one picture of it for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmark.checkpoints.account import Account
from benchmark.checkpoints.architecture import nearest
from benchmark.checkpoints.archive import Archive
from benchmark.checkpoints.candidates import collections_of, find_candidates, kind_of
from benchmark.checkpoints.encoder import Encoder
from benchmark.checkpoints.layouts import get
from benchmark.checkpoints.placeholder import Placeholder
from benchmark.checkpoints.storage import LazyTensor

LINES = 40  # rows of a table before the rest is counted only
NAMES = 4  # dropped names shown per reason


def describe(archive: Archive, encoder: Encoder | None = None, account: Account | None = None) -> dict[str, Any]:
    """The facts about a file, JSON-able.

    Args:
        archive: the opened file.
        encoder: the chosen encoder; None where there are several and no choice.
        account: how it matches an architecture; None where none was given.
    """
    tensors = {**encoder.state} if encoder else {}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return {
        "file": str(archive.path),
        "format": archive.format,
        "sha256": archive.sha256,
        "bytes": archive.size,
        "metadata": dict(archive.metadata),
        "placeholders": [{"name": p.name, "count": p.count, "where": p.where} for p in archive.placeholders],
        "entries": _entries(archive.tree),
        "candidates": [
            {"key": candidate.key, "tensors": len(candidate.names)}
            for candidate in find_candidates(collections_of(archive.tree))
        ],
        "encoder": {
            "key": encoder.key,
            "prefix": encoder.prefix,
            "layout": encoder.layout,
            "preprocessing": dict(get(encoder.layout).preprocessing) if encoder.layout != "generic" else {},
            "quirks": list(get(encoder.layout).quirks) if encoder.layout != "generic" else [],
            "tensors": len(tensors),
            "parameters": sum(tensor.numel() for tensor in tensors.values()),
            "dtypes": sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}),
            "trained_without_labels": encoder.trained_without_labels,
            "ignored": {ignored.key: ignored.reason for ignored in encoder.ignored},
            "strays": list(encoder.strays),
            "others": list(encoder.others),
        }
        if encoder
        else None,
        "nearest": [
            {"arch": near.name, "similarity": round(near.similarity, 3), "twins": list(near.twins)}
            for near in nearest(shapes)
        ],
        "account": account.as_json() if account else None,
    }


def _entries(tree: Any) -> list[dict[str, str]]:
    """The outermost entries and what each is; a plain state dict is one entry."""
    if not isinstance(tree, dict) or any(isinstance(value, LazyTensor) for value in tree.values()):
        return [{"name": "", "kind": kind_of(tree)}]
    return [
        {"name": str(name)[:100], "kind": kind_of(value) + (" (not made)" if isinstance(value, Placeholder) else "")}
        for name, value in tree.items()
    ]


def render(report: dict[str, Any]) -> RenderableType:
    """The report of `describe` for a terminal."""
    parts: list[RenderableType] = [_facts(report)]
    rows: Sequence[tuple[str, ...]]
    if report["placeholders"]:
        rows = [(p["name"], str(p["count"]), p["where"] or "(not kept)") for p in report["placeholders"]]
        parts.append(_table("Foreign objects: listed, never made or run", ("name", "count", "first seen in"), rows))
    encoder = report["encoder"]
    if encoder is None:
        rows = [(c["key"] or "(the file itself)", str(c["tensors"])) for c in report["candidates"]]
        parts.append(_table("Possible encoders (--key)", ("key", "tensors"), rows))
    else:
        rows = [(name, reason) for name, reason in encoder["ignored"].items()]
        if rows:
            parts.append(_table("Entries passed by", ("entry", "what it is"), rows))
    if report["account"]:
        parts.append(_account(report["account"]))
    elif report["nearest"]:
        rows = [(n["arch"], f"{n['similarity']:.0%}", ", ".join(n["twins"][:3])) for n in report["nearest"]]
        parts.append(_table("Nearest (--arch)", ("arch", "tensors", "same shapes"), rows))
    return Group(*parts)


def _facts(report: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    size = f"{report['bytes'] / 1e6:.1f} MB"
    rows = [("file", report["file"]), ("format", f"{report['format']}, {size}"), ("sha256", report["sha256"])]
    rows += [("metadata", ", ".join(f"{key}={value}" for key, value in report["metadata"].items())[:200])]
    encoder = report["encoder"]
    if encoder:
        place = encoder["key"] or "(the file itself)"
        numbers = (
            f"{encoder['tensors']} tensors, {encoder['parameters'] / 1e6:.2f} M values, {', '.join(encoder['dtypes'])}"
        )
        rows += [("layout", encoder["layout"]), ("encoder", f"{place}: {numbers}")]
        rows += [("not chosen", ", ".join(encoder["others"])), ("unexplained", ", ".join(encoder["strays"][:NAMES]))]
    if encoder and "backbone" not in report:  # which has both, with where they come from
        rows += [("preprocessing", " ".join(f"{key}={value}" for key, value in encoder["preprocessing"].items()))]
        rows += [("beware", quirk) for quirk in encoder["quirks"]]
    for name, value in rows:
        if value:
            table.add_row(name, Text(str(value)))
    return table


def _account(account: dict[str, Any]) -> Table:
    rows = [("matched", str(account["matched"]), "")]
    for reason, names in account["dropped"].items():
        shown = ", ".join(names[:NAMES]) + (", ..." if len(names) > NAMES else "")
        rows.append((f"dropped: {reason}", str(len(names)), shown))
    if account["supplied"]:
        reasons = sorted(set(account["supplied"].values()))
        rows.append((f"supplied: {'; '.join(reasons)}", str(len(account["supplied"])), ""))
    head = account["head"]
    if head:
        rows.append(
            ("classifier kept aside", str(head["classes"]), f"{head['name']}: classes on {head['features']} features")
        )
    return _table("Every tensor accounted for", ("what", "number", "names"), rows)


def _table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows[:LINES]:
        table.add_row(*(Text(cell) for cell in row))
    if len(rows) > LINES:
        table.add_row(Text(f"... and {len(rows) - LINES} more"))
    return table
