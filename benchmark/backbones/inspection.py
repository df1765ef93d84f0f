"""What `inspect` reports: the account of a weights file, and the backbone that it makes with an architecture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.files import read_archive
from benchmark.backbones.sources import kind_of, open_backbone
from benchmark.checkpoints import report
from benchmark.checkpoints.archive import open_archive
from benchmark.checkpoints.encoder import Encoder, find_encoder
from benchmark.errors import BackboneError, RequestError


def inspect_checkpoint(
    spec: str,
    *,
    arch: str | None = None,
    layout: str | None = None,
    key: str | None = None,
    preprocess: Sequence[str] = (),
) -> dict[str, Any]:
    """The facts about a weights file and the backbone that it makes; JSON-able.

    Raises:
        RequestError: as `open_backbone`; several encoders or architectures without a choice are reported (`undecided`),
            not refused, as long as no choice is asked for.
    """
    kind, name = kind_of(spec)
    if kind != "file":
        if arch is not None or layout is not None or key is not None:
            raise BackboneError("--arch, --layout and --key beside a weights file", spec, "leave them out")
        return {"spec": spec, "backbone": _facts(open_backbone(spec, preprocess=preprocess))}
    archive = open_archive(Path(name))
    encoder: Encoder | None = None
    try:
        encoder = find_encoder(archive, layout=layout, key=key)
        backbone, matched = read_archive(archive, arch, layout, key, preprocess, own=False)
    except RequestError as error:
        if arch is not None or (encoder is None and (layout is not None or key is not None)):
            raise
        return {**report.describe(archive, encoder), "undecided": str(error)}
    return {**report.describe(matched.archive, matched.encoder, matched.account), "backbone": _facts(backbone)}


def render(facts: dict[str, Any]) -> RenderableType:
    """The report for a terminal."""
    parts: list[RenderableType] = [report.render(facts)] if "file" in facts else []
    if "backbone" in facts:
        parts.append(_backbone_table(facts["backbone"]))
    if "undecided" in facts:
        parts.append(Text(f"not decided: {facts['undecided']}", style="yellow"))
    return Group(*parts)


def _facts(backbone: Backbone) -> dict[str, Any]:
    head = backbone.head
    return {
        "arch": backbone.arch,
        "params": backbone.params,
        "weights_hash": backbone.weights_hash,
        "representations": dict(backbone.dims),
        "default_representation": backbone.default_representation,
        "default_reason": backbone.default_reason,
        "layers": backbone.depth,
        "head": None
        if head is None
        else {"classes": head.weight.shape[0], "representation": head.representation, "bias": head.bias is not None},
        "preprocessing": backbone.preprocessing.model_dump(mode="json"),
        "notices": list(backbone.origin.notices),
    }


def _backbone_table(facts: dict[str, Any]) -> Table:
    table = Table(title="The backbone", title_justify="left", title_style="bold", box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    shown = dict(facts["preprocessing"])
    source = shown.pop("source")
    head = facts["head"]
    rows = [
        (
            "architecture",
            f"{facts['arch']}, {facts['params'] / 1e6:.2f} M parameters, {facts['layers']} layers with maps",
        ),
        ("weights hash", facts["weights_hash"]),
        ("representations", ", ".join(f"{name} ({width})" for name, width in facts["representations"].items())),
        ("default", f"{facts['default_representation']}: {facts['default_reason']}"),
        ("classifier", f"{head['classes']} classes on {head['representation']}" if head else "none that is usable"),
        ("preprocessing", " ".join(f"{name}={_short(value)}" for name, value in shown.items())),
        ("source of it", source),
        *(("note", notice) for notice in facts["notices"]),
    ]
    for name, value in rows:
        table.add_row(name, Text(value))
    return table


def _short(value: object) -> str:
    if isinstance(value, list):
        return ",".join(_short(part) for part in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
