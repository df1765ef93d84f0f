"""From an encoder's tensors to its architecture: families with free dimensions first, then the shipped index."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from typing import Any

from timm.models import is_model_in_modules
from torch import Tensor

from benchmark.checkpoints.architecture import exact, hint
from benchmark.checkpoints.archive import Archive
from benchmark.checkpoints.encoder import Encoder
from benchmark.checkpoints.folders import entry
from benchmark.checkpoints.inference.clip_resnet import infer_clip_resnet
from benchmark.checkpoints.inference.clips import infer_clips
from benchmark.checkpoints.inference.convnext import infer_convnext
from benchmark.checkpoints.inference.dinov3 import infer_dinov3
from benchmark.checkpoints.inference.family import infer_family
from benchmark.checkpoints.inference.inferred import Inferred, Query, shapes_of, spelled
from benchmark.checkpoints.inference.leff import infer_leff
from benchmark.checkpoints.inference.postnorm import infer_postnorm
from benchmark.checkpoints.inference.resnet import infer_resnet, infer_selective
from benchmark.checkpoints.inference.swin import infer_swin
from benchmark.checkpoints.inference.vit import infer_vit
from benchmark.checkpoints.layout import Facts
from benchmark.checkpoints.layouts import facts, rules
from benchmark.checkpoints.placeholder import Placeholder
from benchmark.errors import CheckpointError

_PADDED = ["efficientnet", "mobilenetv3"]  # timm's modules whose networks are trained with either padding
_NAMES = ("arch", "model_name", "architecture", "model", "backbone", "encoder")  # entries that name an architecture
# Of the encoder, where a head module holds it: ConvNeXt's norm, the attention pooling of CLIP's residual networks.
_NORM = re.compile(r"^(head|classifier)\.((norm|layernorm)\d*\.|[qkv]\.|pos_embed$)")
_LAST = re.compile(r"^(fc|head|head\.fc\.fc2|heads\.head|classifier(\.\d+)?)\.weight$")
SHOWN = 6
_USUAL = {"act_layer": "gelu", "norm_eps": 1e-6}  # timm's own of vision transformers
_TABLE_NOISE = 0.02  # what half precision leaves of the norm of a row of sines and cosines


def infer(archive: Archive, encoder: Encoder, size: tuple[int, int] | None = None) -> Inferred:
    """The architecture of an encoder.

    Args:
        archive: the file, whose settings may name an architecture: it decides between equals only.
        encoder: from `find_encoder`.
        size: (h, w) of the images that it is to see; None for those that it was trained on.

    Raises:
        CheckpointError: shapes and layout do not decide; the message lists the candidates.
    """
    shapes = {
        name: shape
        for name, shape in shapes_of(encoder.state).items()
        if _NORM.search(name) or rules().drop(name, first=encoder.drops) is None
    }
    learned = _learned_positions(encoder.state.get("pos_embed"))
    names = (*stated_names(archive.tree), *stated_names(archive.config))
    known = _with_config(encoder.layout, archive).model_copy(update={"heads": heads_by_width(encoder)})
    query = Query(shapes, known, encoder.layout, size, names, learned)
    if query.facts.published:
        return _from_file(query) or _from_index(query, encoder)
    return (
        _from_file(query)
        or infer_dinov3(query)
        or infer_clips(query)
        or infer_family(query)
        or infer_leff(query)
        or infer_postnorm(query)
        or infer_vit(query)
        or infer_resnet(query)
        or infer_selective(query)
        or infer_clip_resnet(query)
        or infer_swin(query, encoder.state)
        or infer_convnext(query)
        or _from_layout(query)
        or _from_index(query, encoder)
    )


def heads_by_width(encoder: Encoder) -> Mapping[int, int]:
    """What the layout says of attention heads; nothing where the encoder's positions are unlike those of the family and
    nobody asked for that layout.
    """
    known = facts(encoder.layout)
    positions = encoder.state.get("pos_embed")
    foreign = known.learned_positions and positions is not None and not _learned_positions(positions)
    return {} if foreign and encoder.recognised else known.heads


def _with_config(layout: str, archive: Archive) -> Facts:
    """What a layout says, completed by the configuration beside the weights.

    Raises:
        CheckpointError: the configuration lacks an entry.
    """
    known = facts(layout)
    told: dict[str, Any] = {}
    for item in known.config:
        value = entry(archive.config, item.entry)
        value = item.default if value is None else value
        if value is None:
            raise CheckpointError(
                f"{item.entry} in the configuration of {archive.path.name}", "none", "take the folder's files again"
            )
        if _USUAL.get(item.option) != value:
            told[item.option] = value
    return known.model_copy(update={"options": {**known.options, **told}}) if told else known


def _learned_positions(positions: Tensor | None) -> bool:
    """Whether an embedding (1, N, D) was learned: rows of D / 2 sines and cosines each have a norm of sqrt(D / 2)."""
    if positions is None or positions.ndim != 3 or not positions.is_floating_point():
        return False
    squares = positions.float().square().sum(-1)[0, 1:]  # the first row may be a class token's, zero in such tables
    return squares.numel() > 0 and not bool(((squares * 2 / positions.shape[-1] - 1).abs() < _TABLE_NOISE).all())


def _from_file(query: Query) -> Inferred | None:
    """The architecture that the file names, if its tensors are exactly these."""
    named = [name for name in exact(query.shapes) if name in query.stated]
    if len(named) != 1 or query.facts.arch or query.facts.options:
        return None
    return Inferred(named[0], (f"{named[0]}: what the file names it",))


def _from_layout(query: Query) -> Inferred | None:
    if query.facts.arch and not {"{", "*"} & set(query.facts.arch):
        return Inferred(spelled(query.facts.arch, dict(query.facts.options)))
    return None


def _from_index(query: Query, encoder: Encoder) -> Inferred:
    """The only architecture with exactly these tensors.

    Raises:
        CheckpointError: none, or several.
    """
    names = exact(query.shapes) or exact(_whole(shapes_of(encoder.state)))
    if "*" in query.facts.arch:
        names = tuple(fnmatch.filter(names, query.facts.arch))
    if not names:
        raise CheckpointError(
            "an architecture that can be told by the shapes of its tensors",
            f"{len(query.shapes)} tensors under {encoder.key or 'the file itself'} (layout {encoder.layout})",
            f"{hint(query.shapes)}; give --arch",
        )
    options = dict(query.facts.options)
    if len(names) == 1 and is_model_in_modules(names[0], _PADDED) and "pad_type" not in options:
        raise CheckpointError(
            f"the padding of {names[0]}, which no shape says",
            f"{query.layout} layout: as PyTorch pads, or as TensorFlow does",
            f"give --arch {names[0]} or --arch '{names[0]}?pad_type=same'",
        )
    if len(names) == 1:
        return Inferred(spelled(names[0], options))
    shown = ", ".join(names[:SHOWN]) + (" ..." if len(names) > SHOWN else "")
    raise CheckpointError(
        "one architecture with these shapes",
        f"{len(names)}: {shown}",
        "choose by --arch: they differ in what no shape says",
    )


def _whole(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Everything but the last layer of the classifier, where its other layers are the encoder's (torchvision)."""
    heads = [name.rpartition(".")[0] for name in shapes if _LAST.search(name)]
    return {name: shape for name, shape in shapes.items() if not heads or name.rpartition(".")[0] != heads[-1]}


def stated_names(tree: Any) -> Iterator[str]:
    """The names of architectures that a training checkpoint holds: `arch`, or `args.arch`, of any writer."""
    for fields in (tree, *(_fields(tree, name) for name in ("args", "hyper_parameters", "config", "cfg", "opt"))):
        if isinstance(fields, Placeholder):
            fields = fields.attributes
        if isinstance(fields, Mapping):
            yield from (fields[name] for name in _NAMES if isinstance(fields.get(name), str))


def _fields(tree: Any, name: str) -> Any:
    return tree.get(name) if isinstance(tree, Mapping) else None
