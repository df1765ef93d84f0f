"""A weights file as a backbone: layout recognised, architecture inferred or given, every tensor accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from benchmark.backbones.architecture import Architecture, wrap
from benchmark.backbones.backbone import Backbone, Origin
from benchmark.backbones.classifier import find_classifier, remove_classifier
from benchmark.backbones.execution import Execution, plan_execution
from benchmark.backbones.preprocessing import ASSUMED, Preprocessing
from benchmark.backbones.stem import contradiction, seen_pixels
from benchmark.checkpoints.account import Account, account
from benchmark.checkpoints.archive import Archive
from benchmark.checkpoints.encoder import Encoder, find_encoder
from benchmark.checkpoints.inference.infer import heads_by_width, infer
from benchmark.checkpoints.inference.inferred import shapes_of
from benchmark.checkpoints.layouts import GENERIC, facts, get
from benchmark.checkpoints.positions import fit_positions
from benchmark.errors import BackboneError


@dataclass(frozen=True)
class Matched:
    """A weights file held against an architecture.

    Attributes:
        archive, encoder, account: what the file holds, what was taken, what became of it.
        arch: the architecture, given or inferred.
        module: the network, without its classifier; `account.tensors` are not yet in it.
        paths: its classifier's place.
        preprocessing: what its images go through.
        notices: what was decided on the way by something else than the file's shapes, for people.
    """

    archive: Archive
    encoder: Encoder
    account: Account
    arch: Architecture
    module: nn.Module
    paths: tuple[str, ...]
    preprocessing: Preprocessing
    notices: tuple[str, ...] = ()


def match_file(
    archive: Archive,
    arch: str | None = None,
    layout: str | None = None,
    key: str | None = None,
    preprocess: Sequence[str] = (),
) -> Matched:
    """Accounts for every tensor of an opened weights file; loads nothing yet.

    Args:
        archive: the file.
        arch: the architecture; None to infer it.
        layout: its layout; None to recognise it.
        key: which encoder, where there are several.
        preprocess: the user's `key=value` settings; a size among them is the one that the network is built for.

    Raises:
        CheckpointError: several encoders or architectures without a choice, a tensor without a reason.
        BackboneError: an architecture that cannot be built, or that its layout contradicts; pixels that the file's
            first BatchNorm contradicts.
    """
    what = None if arch is None else Architecture.parse(arch)
    names = None if what is None else frozenset(what.build().state_dict(keep_vars=True))
    encoder = find_encoder(archive, layout=layout, key=key, expected=names)
    stated = file_preprocessing(encoder, preprocess, archive)
    size = stated.size if _states_size(encoder, preprocess, archive) else None
    native: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    if what is None:
        inferred = infer(archive, encoder, size)
        what, native, notes = Architecture.parse(inferred.arch), inferred.size, inferred.notes
    if size is not None:
        what = what.for_size(size)
    module = what.build(blank=True)
    size = size or what.size_of(module)
    paths = find_classifier(module)
    remove_classifier(module, paths)
    expected = module.state_dict()
    known = facts(encoder.layout)
    fitted = fit_positions(encoder.state, shapes_of(expected), known.positions, native, size)
    encoder = replace(encoder, state=fitted.state)
    matched = account(encoder, expected, head_names=paths, arch=what.canonical)
    _check_heads(module, encoder, what)
    preprocessing = stated.model_copy(update={"size": size})
    said = (*_chosen(encoder), *_pixels(encoder, preprocessing, preprocess, archive), *notes, *fitted.notes)
    return Matched(archive, encoder, matched, what, module, paths, preprocessing, said)


def read_archive(
    archive: Archive,
    arch: str | None = None,
    layout: str | None = None,
    key: str | None = None,
    preprocess: Sequence[str] = (),
    execution: Execution | None = None,
    own: bool = True,
) -> tuple[Backbone, Matched]:
    """The backbone of an opened weights file, and the account of how it came to be; see `match_file`.

    `own` copies the weights out of the file, which somebody may write to while the backbone works; without it they are
    the file's own pages.
    """
    found = match_file(archive, arch, layout, key, preprocess)
    found.module.load_state_dict(_real(found), strict=True, assign=True)
    if own:
        for tensor in (*found.module.parameters(), *found.module.buffers()):
            tensor.data = tensor.data.clone()
    head = found.account.head
    quirks = () if found.encoder.layout == GENERIC else get(found.encoder.layout).quirks
    backbone = wrap(
        found.module,
        found.paths,
        arch=found.arch.canonical,
        identity=found.arch.identity,
        preprocessing=found.preprocessing,
        execution=execution or plan_execution("cpu"),
        origin=Origin(
            spec=archive.path.name,
            file=archive.path.name,
            sha256=found.archive.sha256,
            layout=found.encoder.layout,
            key=found.encoder.key or None,
            dropped={drop.key: drop.reason for drop in found.account.dropped},
            notices=(*found.notices, *quirks),
        ),
        head=None if head is None else (head.weight.float(), None if head.bias is None else head.bias.float()),
        representation=facts(found.encoder.layout).representation,
    )
    return backbone, found


def _real(found: Matched) -> dict[str, Tensor]:
    """The tensors in the types that the network has: files of half precision become float32."""
    needed = found.module.state_dict()
    return {name: tensor.to(needed[name].dtype) for name, tensor in found.account.tensors.items()}


def file_preprocessing(
    encoder: Encoder, preprocess: Sequence[str] = (), archive: Archive | None = None
) -> Preprocessing:
    """The preprocessing of a file: what its layout states, else ImageNet's statistics, said to be assumed.

    What the configuration of a folder says goes before both. The statistics on the card of an architecture of timm
    belong to timm's weights, not to this file.
    """
    base = Preprocessing(source=ASSUMED)
    stated = {} if encoder.layout == GENERIC else dict(get(encoder.layout).preprocessing)
    if stated:
        settings = [f"{name}={_text(value)}" for name, value in stated.items()]
        source = f"layout {encoder.layout}: {', '.join(sorted(stated))}"
        base = base.override(settings).model_copy(update={"source": source})
    if archive is not None and archive.pixels:
        settings = [f"{name}={_text(value)}" for name, value in archive.pixels.items()]
        before = f"{base.source}; " if stated else ""
        source = f"{before}{archive.pixels_source}: {', '.join(sorted(archive.pixels))}"
        base = base.override(settings).model_copy(update={"source": source})
    return base.override(preprocess)


def _states_size(encoder: Encoder, preprocess: Sequence[str], archive: Archive) -> bool:
    stated = {} if encoder.layout == GENERIC else get(encoder.layout).preprocessing
    return (
        "size" in stated
        or "size" in archive.pixels
        or any(setting.partition("=")[0].strip() == "size" for setting in preprocess)
    )


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _chosen(encoder: Encoder) -> tuple[str, ...]:
    """What was taken without being asked for."""
    if not (encoder.recognised and encoder.others):
        return ()
    rivals = ", ".join(encoder.others)
    return (f"{encoder.key} was taken, as the layout {encoder.layout} says; --key chooses among it and {rivals}",)


def _pixels(
    encoder: Encoder, preprocessing: Preprocessing, preprocess: Sequence[str], archive: Archive
) -> tuple[str, ...]:
    """What there is to say on mean and std: that they are assumed, or against what the file remembers.

    Raises:
        BackboneError: the network saw other pixels, and the user did not insist.
    """
    given = {setting.partition("=")[0].strip() for setting in preprocess} & {"mean", "std", "value_range"}
    seen = seen_pixels(encoder.state)
    likely = contradiction(preprocessing, seen) if seen else None
    others = [name for name in encoder.possible if get(name).preprocessing]
    if likely and given:
        return (f"its first BatchNorm saw {seen}, which is unlike the mean and std given: {likely} would be",)
    if likely:
        named = f"--layout {' or '.join(others)} if it is one of these, else " if others else ""
        insist = f"mean={_text(preprocessing.mean)} std={_text(preprocessing.std)}"
        raise BackboneError(
            f"pixels such as the network was trained on: its first BatchNorm saw {seen}",
            f"mean {_text(preprocessing.mean)} and std {_text(preprocessing.std)} ({preprocessing.source})",
            f"give {named}--preprocess {likely}, or insist by --preprocess {insist}",
        )
    family = {} if encoder.layout == GENERIC else get(encoder.layout).preprocessing
    if given or "mean" in family or "mean" in archive.pixels:
        return ()
    evidence = f"; its first BatchNorm saw {seen}, where ImageNet's statistics give about 0 and 1" if seen else ""
    named = f"; it may be of the layout {' or '.join(others)}: say so by --layout" if others else ""
    return (f"mean and std are assumed to be ImageNet's{evidence}{named}; `inspect --audit` measures them",)


def _check_heads(module: nn.Module, encoder: Encoder, arch: Architecture) -> None:
    """Stops where an architecture has another number of heads than its layout: all shapes agree, no feature does.

    Raises:
        BackboneError: it has.
    """
    heads = heads_by_width(encoder)
    for part in module.modules():
        count, qkv = getattr(part, "num_heads", None), getattr(part, "qkv", None)
        if not isinstance(count, int) or not isinstance(qkv, nn.Linear):
            continue
        wanted = heads.get(qkv.in_features)
        if wanted is not None and wanted != count:
            raise BackboneError(
                f"{wanted} attention heads, which {encoder.layout} has at width {qkv.in_features}",
                f"{count} in {arch.canonical}",
                f"leave --arch out, or add num_heads={wanted} to it",
            )
