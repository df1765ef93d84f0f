"""Calls of mmcv's operators on seeded inputs: run on a compiled mmcv for the reference, and on ours in the tests.

Inputs come from numpy's `RandomState`, whose stream is the same on every machine and version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

Outputs = dict[str, np.ndarray]


def boxes(n: int, seed: int, whole: bool = False) -> tuple[Tensor, Tensor]:
    """(boxes (n, 4), scores (n,)) crowded around a few places; of whole numbers with many equal scores if asked."""
    random = np.random.RandomState(seed)
    corners = random.randint(0, 4, (n, 2)) * 40 + random.normal(0, 6, (n, 2))
    sides = random.uniform(12, 48, (n, 2))
    found, scores = np.concatenate([corners, corners + sides], axis=1), random.uniform(size=n)
    if whole:
        found, scores = found.round(), (scores * 8).round() / 8
    return torch.tensor(found, dtype=torch.float32), torch.tensor(scores, dtype=torch.float32)


def _nms(offset: int, threshold: float, whole: bool, **limits: Any) -> Outputs:
    from mmcv.ops import nms

    found, scores = boxes(300, 7, whole)
    kept, indices = nms(found, scores, threshold, offset=offset, **limits)
    # torch leaves equal scores in an order of its own, another one from version to version.
    order = {"order": scores.sort(dim=0, descending=True).indices.numpy()} if whole else {}
    return {"kept": kept.numpy(), "indices": indices.numpy(), **order}


def _nms_at_the_threshold(threshold: float) -> Outputs:
    """Pairs of boxes whose IoU is a fraction that float32 rounds: up, down, or not at all."""
    from mmcv.ops import nms

    pairs = []
    for shared, total in ((1, 2), (3, 5), (7, 10), (3, 10), (9, 10), (2, 5)):
        x = 100.0 * len(pairs)
        pairs += [[x, 0, x + shared, 1], [x, 0, x + total, 1]]
    found = torch.tensor(pairs)
    return {"indices": nms(found, torch.linspace(1, 0.5, len(found)), threshold)[1].numpy()}


def _batched_nms() -> Outputs:
    from mmcv.ops import batched_nms

    found, scores = boxes(300, 8)
    classes = torch.tensor(np.random.RandomState(9).randint(0, 3, 300))
    kept, indices = batched_nms(found, scores, classes, {"type": "nms", "iou_threshold": 0.5})
    return {"kept": kept.numpy(), "indices": indices.numpy()}


def _roi_align(scale: float, ratio: int, aligned: bool) -> Outputs:
    from mmcv.ops import roi_align

    random = np.random.RandomState(11)
    maps = torch.tensor(random.normal(size=(2, 2, 14, 17)), dtype=torch.float32, requires_grad=True)
    corners = random.uniform(-6, 40, (9, 2))
    sides = random.uniform(0.05, 60, (9, 2))
    rois = np.concatenate([random.randint(0, 2, (9, 1)), corners, corners + sides], axis=1)
    rois[0, 1:] = [3, 4, 3, 4]  # no area
    rois[1, 1:] = [-80, -80, -60, -70]  # outside
    out = roi_align(maps, torch.tensor(rois, dtype=torch.float32), (4, 5), scale, ratio, "avg", aligned)
    return _with_gradients(out, {"maps": maps}, random)


def _deform(modulated: bool, bias: bool, stride: int, dilation: int, groups: int, deform_groups: int) -> Outputs:
    from mmcv.ops import deform_conv2d, modulated_deform_conv2d

    random = np.random.RandomState(13)

    def leaf(*shape: int, spread: float = 1.0) -> Tensor:
        return torch.tensor(random.normal(0, spread, shape), dtype=torch.float32, requires_grad=True)

    height, width = ((side + 2 - dilation * 2 - 1) // stride + 1 for side in (9, 8))
    inputs = {
        "maps": leaf(2, 4, 9, 8),
        "offset": leaf(2, deform_groups * 18, height, width, spread=1.5),
        "weight": leaf(6, 4 // groups, 3, 3),
    }
    geometry = (stride, 1, dilation, groups, deform_groups)
    if modulated:
        mask = torch.sigmoid(leaf(2, deform_groups * 9, height, width)).detach().requires_grad_()
        inputs = {"maps": inputs["maps"], "offset": inputs["offset"], "mask": mask, "weight": inputs["weight"]}
        if bias:
            inputs["bias"] = leaf(6)
        given = [*inputs.values()] + ([] if bias else [None])
        return _with_gradients(modulated_deform_conv2d(*given, *geometry), inputs, random)
    return _with_gradients(deform_conv2d(*inputs.values(), *geometry), inputs, random)


def _with_gradients(out: Tensor, inputs: dict[str, Tensor], random: np.random.RandomState) -> Outputs:
    """The output, and the gradients of a fixed linear function of it."""
    direction = torch.tensor(random.normal(size=tuple(out.shape)), dtype=out.dtype)
    (out * direction).sum().backward()
    grads = {f"gradient of {name}": tensor.grad.numpy() for name, tensor in inputs.items()}
    return {"value": out.detach().numpy(), **grads}


CASES: dict[str, Callable[[], Outputs]] = {
    "nms": lambda: _nms(0, 0.5, False),
    "nms, offset 1": lambda: _nms(1, 0.7, False),
    "nms, ties": lambda: _nms(0, 0.5, True),
    "nms, ties, offset 1": lambda: _nms(1, 0.5, True),
    "nms, limits": lambda: _nms(0, 0.6, False, score_threshold=0.3, max_num=20),
    **{
        f"nms at the threshold {threshold}": (lambda threshold=threshold: _nms_at_the_threshold(threshold))
        for threshold in (0.3, 0.4, 0.5, 0.6, 0.7, 0.9)
    },
    "batched nms": _batched_nms,
    **{
        f"roi align, scale {scale}, ratio {ratio}, aligned {aligned}": (
            lambda scale=scale, ratio=ratio, aligned=aligned: _roi_align(scale, ratio, aligned)
        )
        for scale in (0.25, 1.0)
        for ratio in (0, 2)
        for aligned in (False, True)
    },
    "deform conv": lambda: _deform(False, False, 1, 1, 1, 1),
    "deform conv, groups, stride": lambda: _deform(False, False, 2, 1, 2, 2),
    "deform conv, dilated": lambda: _deform(False, False, 1, 2, 1, 2),
    "modulated": lambda: _deform(True, False, 1, 1, 1, 1),
    "modulated, bias, groups, stride": lambda: _deform(True, True, 2, 1, 2, 2),
    "modulated, bias, dilated": lambda: _deform(True, True, 1, 2, 1, 1),
}
"""Name -> a call that returns what the operator gave."""


def run_all() -> Iterator[tuple[str, np.ndarray]]:
    """("case | output", array) of every case, on the operators that mmcv has now."""
    for case, call in CASES.items():
        for name, array in call().items():
            yield f"{case} | {name}", array
