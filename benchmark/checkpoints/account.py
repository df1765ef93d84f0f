"""The account of a load: every tensor of the encoder matched, or dropped for a stated reason, or no load at all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from benchmark.checkpoints.architecture import hint
from benchmark.checkpoints.encoder import Dropped, Encoder
from benchmark.checkpoints.layouts import rules
from benchmark.errors import CheckpointError

SHOWN = 3  # names on each side of a mismatch
COUNTER = "num_batches_tracked"
Shaped = Tensor | Sequence[int]


@dataclass(frozen=True)
class ClassifierHead:
    """The classifier of a checkpoint, kept beside the encoder.

    Attributes:
        weight: (C, D).
        bias: (C,), or None.
        name: the module it was (`classifier`).
    """

    weight: Tensor
    bias: Tensor | None
    name: str


@dataclass(frozen=True)
class Account:
    """What became of every tensor.

    Attributes:
        tensors: name -> tensor, ready for `load_state_dict(strict=True)` of an encoder without the modules in
            `unfilled`.
        matched: names found in file and architecture with equal shapes.
        supplied: names that the file lacks and that do not matter, with the reason; they are in `tensors`.
        dropped: what the file has and the encoder has no use for, with reasons (tensors beside the encoder included).
        head: the classifier, where there is a linear one that was trained with labels.
        unfilled: the architecture's own classifier tensors that the file does not fill.
    """

    tensors: dict[str, Tensor]
    matched: tuple[str, ...]
    supplied: tuple[Dropped, ...]
    dropped: tuple[Dropped, ...]
    head: ClassifierHead | None
    unfilled: tuple[str, ...]

    def by_reason(self) -> dict[str, list[str]]:
        """Dropped names by reason."""
        ordered = sorted(self.dropped, key=lambda drop: drop.reason)
        return {reason: [d.key for d in group] for reason, group in groupby(ordered, key=lambda drop: drop.reason)}

    def summary(self) -> list[tuple[str, str]]:
        """Rows (what, how many and which) for people."""
        rows = [("matched", f"{len(self.matched)} tensors")]
        for reason, names in self.by_reason().items():
            rows.append(("dropped", f"{len(names)}: {reason} ({_some(names)})"))
        for reason, group in groupby(self.supplied, key=lambda supplied: supplied.reason):
            rows.append(("supplied", f"{len(list(group))}: {reason}"))
        if self.head:
            classes, width = self.head.weight.shape
            rows.append(("classifier", f"{self.head.name}: {classes} classes on {width} features, kept aside"))
        if self.unfilled:
            rows.append(("unfilled", f"{_some(self.unfilled)}: the architecture's own classifier"))
        return rows

    def as_json(self) -> dict[str, Any]:
        """The account for programs."""
        return {
            "matched": len(self.matched),
            "dropped": self.by_reason(),
            "supplied": {supplied.key: supplied.reason for supplied in self.supplied},
            "head": {
                "name": self.head.name,
                "classes": self.head.weight.shape[0],
                "features": self.head.weight.shape[1],
                "bias": self.head.bias is not None,
            }
            if self.head
            else None,
            "unfilled": list(self.unfilled),
        }


def account(
    encoder: Encoder, expected: Mapping[str, Shaped], head_names: Collection[str] = (), arch: str = "the architecture"
) -> Account:
    """Compares a file's encoder with the tensors that an architecture needs.

    Args:
        encoder: from `find_encoder`.
        expected: the architecture's `state_dict()`, or shapes by name. With tensors the kind of number is compared too.
        head_names: the modules that are its classifier (`classifier`, `head.fc`), whether or not `expected` has them. A
            classifier of the file is kept aside, and fills the architecture's only where all its shapes are equal.
        arch: how the user wrote the architecture, for messages.

    Raises:
        CheckpointError: a tensor without a match or a reason, another shape, a number that is not finite.
    """
    state = encoder.state
    own_head = {name for name in expected if _under(name, head_names)}
    same_head = own_head and all(
        name in state and _shape(state[name]) == _shape(expected[name]) and _same_kind(state[name], expected[name])
        for name in own_head
    )
    fills = dict.fromkeys(name for name in expected if name not in own_head or same_head)  # ordered, for messages
    matched = [name for name in state if name in fills and _shape(state[name]) == _shape(expected[name])]
    reshaped = [name for name in state if name in fills and _shape(state[name]) != _shape(expected[name])]
    missing = [name for name in fills if name not in state]
    supplied = [
        Dropped(name, "step counter of BatchNorm, absent from old files, without effect at inference", "counter")
        for name in missing
        if name.rpartition(".")[2] == COUNTER
    ]
    missing = [name for name in missing if name.rpartition(".")[2] != COUNTER]
    dropped, unexplained = list(encoder.dropped), []
    for name in state:
        if name in fills:
            continue
        rule = rules().drop(name, first=encoder.drops)
        if _under(name, head_names):
            dropped.append(_head_drop(encoder, name))
        elif rule:
            dropped.append(_head_drop(encoder, name) if rule.kind == "head" else Dropped(name, rule.reason, rule.kind))
        else:
            unexplained.append(name)
    if missing or reshaped or unexplained or encoder.strays:
        raise _mismatch(encoder, expected, arch, missing, reshaped, unexplained, dropped)
    _check_kinds(encoder, expected, matched)
    head = _head(encoder, head_names)
    _check_finite(encoder, matched, head)
    _check_alive(encoder, matched)
    tensors = {name: state[name] for name in matched}
    tensors.update({drop.key: torch.zeros((), dtype=torch.int64) for drop in supplied})
    return Account(
        tensors=tensors,
        matched=tuple(matched),
        supplied=tuple(supplied),
        dropped=tuple(dropped),
        head=head,
        unfilled=() if same_head else tuple(sorted(own_head)),
    )


def _under(name: str, modules: Iterable[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _shape(value: Shaped) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, Tensor) else tuple(value)


def _real(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _same_kind(found: Tensor, needed: Shaped) -> bool:
    return not isinstance(needed, Tensor) or _real(found) == _real(needed)


def _head_drop(encoder: Encoder, name: str) -> Dropped:
    if encoder.trained_without_labels:
        return Dropped(name, "projection head of a method without labels", "projector")
    return Dropped(name, "classifier head", "head")


def _head(encoder: Encoder, head_names: Collection[str]) -> ClassifierHead | None:
    """The file's classifier: one matrix and perhaps a bias, under a name that says so."""
    if encoder.trained_without_labels:
        return None
    for name, weight in encoder.state.items():
        module, _, leaf = name.rpartition(".")
        if leaf != "weight":
            continue
        rule = rules().drop(name, first=encoder.drops)
        if not (module in head_names or (rule is not None and rule.kind == "head" and "auxiliary" not in rule.reason)):
            continue
        root = module if module in head_names else module.partition(".")[0]
        if weight.ndim == 4 and tuple(weight.shape[2:]) == (1, 1):
            weight = weight.flatten(1)
        matrices = [key for key, value in encoder.state.items() if _under(key, (root,)) and value.ndim >= 2]
        if weight.ndim != 2 or not _real(weight) or len(matrices) != 1:
            continue  # several layers project; they do not classify linearly
        bias = encoder.state.get(f"{module}.bias")
        if bias is not None and tuple(bias.shape) != (weight.shape[0],):
            continue
        return ClassifierHead(weight, bias, module)
    return None


def _check_kinds(encoder: Encoder, expected: Mapping[str, Shaped], matched: Iterable[str]) -> None:
    for name in matched:
        if not _same_kind(encoder.state[name], expected[name]):
            raise CheckpointError(
                "the kind of numbers that the architecture has",
                f"{name} as {encoder.state[name].dtype}",
                "give weights that are not quantised",
            )


def _check_finite(encoder: Encoder, matched: Iterable[str], head: ClassifierHead | None) -> None:
    named = [(name, encoder.state[name]) for name in matched]
    if head:
        named += [(f"{head.name}.weight", head.weight)]
        named += [(f"{head.name}.bias", head.bias)] if head.bias is not None else []
    for name, tensor in named:
        if _real(tensor):
            values = tensor if tensor.dtype.itemsize > 1 else tensor.float()  # 8-bit floats have no isfinite
            bad = int((~torch.isfinite(values)).sum())
            if bad:
                raise CheckpointError(
                    "finite weights",
                    f"{bad} of {tensor.numel()} values of {name} NaN or infinite",
                    "take an earlier checkpoint",
                )


def _check_alive(encoder: Encoder, matched: Iterable[str]) -> None:
    """Stops where nothing was ever stored: every matrix or kernel is zero."""
    matrices = [encoder.state[name] for name in matched if encoder.state[name].ndim >= 2]
    if matrices and not any(bool(matrix.any()) for matrix in matrices if _real(matrix)):
        raise CheckpointError(
            "weights that are not all zero",
            f"{len(matrices)} of {len(matrices)} matrices of {encoder.key or 'the file'} zero",
            "take a checkpoint that was trained",
        )


def _mismatch(
    encoder: Encoder,
    expected: Mapping[str, Shaped],
    arch: str,
    missing: list[str],
    reshaped: list[str],
    unexplained: list[str],
    dropped: list[Dropped],
) -> CheckpointError:
    parts = []
    if missing:
        parts.append(f"{len(missing)} that the file lacks ({_some(missing)})")
    if unexplained:
        parts.append(f"{len(unexplained)} that {arch} lacks ({_some(unexplained)})")
    if reshaped:
        shown = [f"{name} {_shape(encoder.state[name])} for {_shape(expected[name])}" for name in reshaped[:SHOWN]]
        parts.append(f"{len(reshaped)} of another shape ({', '.join(shown)}{', ...' if len(reshaped) > SHOWN else ''})")
    if encoder.strays:
        parts.append(
            f"{len(encoder.strays)} beside {encoder.prefix or 'the encoder'} without a reason ({_some(encoder.strays)})"
        )
    if encoder.strays and not (missing or reshaped or unexplained):
        todo = f"--key {encoder.key} takes that encoder and leaves the rest"
    else:
        left_out = {drop.key for drop in dropped}
        near = hint({name: tensor for name, tensor in encoder.state.items() if name not in left_out})
        todo = f"{near}; choose by --arch, --layout, --key or --arch python:module:factory"
    place = f" under {encoder.key}" if encoder.key else ""
    return CheckpointError(f"the {len(expected)} tensors of {arch}{place}", "; ".join(parts), todo)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
