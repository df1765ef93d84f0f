"""mmcv's operators with mmcv's signatures, computed by torchvision's kernels and torch.

mmcv calls an operator with tensors that it fills in place; names and order of the arguments are those of mmcv's
bindings (mmcv/ops/csrc/pytorch/pybind.cpp, 2.3), since mmcv passes them by name. Half precision is computed in float32
and rounded once, at the end: torchvision has no kernels for bfloat16, and sums of half numbers would lose bits.
"""

from __future__ import annotations

import numpy as np
import torch
import torchvision
from torch import Tensor
from torch.nn.functional import logsigmoid

from benchmark.errors import RequestError

_TINY = torch.finfo(torch.float32).tiny  # the FLT_MIN under which mmcv's kernels clamp what they take the logarithm of


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices (K,) of the boxes kept, best score first; equal scores in the order in which torch's sort leaves them.

    Args:
        boxes: (N, 4) as x1, y1, x2, y2.
        scores: (N,).
        iou_threshold: a box goes when its IoU with a better one is above it, compared in float32.
        offset: 1 where x2 and y2 are the last pixels within a box (Detectron's early convention), 0 where they are
            coordinates: the width of a box is x2 - x1 + offset.
    """
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    # The sort that mmcv does, which is not stable on a CPU: torchvision's own is, and would keep others among equals.
    order = scores.sort(dim=0, descending=True).indices
    ordered = _wide(boxes)[order]
    rank = torch.arange(len(order), 0, -1, dtype=ordered.dtype, device=ordered.device)
    # An IoU of three fifths is the float32 next to 0.6, which is above the double 0.6: the threshold is rounded too.
    kept = torchvision.ops.nms(ordered, rank, float(np.float32(iou_threshold)))
    return order[kept]


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fills `output` (K, C, h, w) with the maps `input` (B, C, H, W) averaged over bins of `rois` (K, 5).

    Raises:
        RequestError: pooling by maximum, which torchvision does not have.
    """
    _average_only(pool_mode)
    size = (aligned_height, aligned_width)
    output.copy_(
        torchvision.ops.roi_align(_wide(input), _wide(rois), size, spatial_scale, sampling_ratio, aligned=aligned)
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fills `grad_input` (B, C, H, W); see `roi_align_forward`.

    Raises:
        RequestError: as there.
    """
    _average_only(pool_mode)
    grad = torch.ops.torchvision._roi_align_backward(
        _wide(grad_output),
        _wide(rois),
        spatial_scale,
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    )
    grad_input.copy_(grad)


def _average_only(pool_mode: int) -> None:
    if pool_mode != 1:
        raise RequestError(
            "RoIAlign with pool_mode='avg'", "pool_mode='max'", "set pool_mode='avg', or install a compiled mmcv"
        )


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Fills `output` (B, D, h, w) with the deformable convolution of `input` (B, C, H, W), without a mask."""
    geometry = (dH, dW), (padH, padW), (dilationH, dilationW)
    output.copy_(torchvision.ops.deform_conv2d(_wide(input), _wide(offset), _wide(weight), None, *geometry))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Fills the gradients of the input and of the offsets."""
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    grads = _deform_backward(gradOutput, input, weight, offset, None, geometry)
    gradInput.copy_(grads[0])
    gradOffset.copy_(grads[2])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Adds `scale` times the gradient of the weights to `gradWeight`."""
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    grads = _deform_backward(gradOutput, input, torch.zeros_like(gradWeight), offset, None, geometry)
    gradWeight.add_(grads[1].to(gradWeight.dtype), alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Fills `output` (B, D, h, w) with the deformable convolution whose samples `mask` weighs."""
    geometry = (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w)
    added = _wide(bias) if with_bias else None
    output.copy_(
        torchvision.ops.deform_conv2d(_wide(input), _wide(offset), _wide(weight), added, *geometry, mask=_wide(mask))
    )


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Fills the gradients of everything; that of the bias where there is one."""
    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    grads = _deform_backward(grad_output, input, weight, offset, mask, geometry)
    for target, grad in zip((grad_input, grad_weight, grad_offset, grad_mask), grads[:4], strict=True):
        target.copy_(grad)
    if with_bias:
        grad_bias.copy_(grads[4])


def _deform_backward(
    grad: Tensor, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, geometry: tuple[int, ...]
) -> tuple[Tensor, ...]:
    """Gradients of input, weight, offset, mask and bias."""
    wide = [_wide(tensor) for tensor in (grad, input, weight, offset)]
    no_bias = wide[1].new_zeros(weight.shape[0])
    weights = wide[1].new_zeros(len(input), 1) if mask is None else _wide(mask)
    grads: tuple[Tensor, ...] = torch.ops.torchvision._deform_conv2d_backward(
        *wide, weights, no_bias, *geometry, mask is not None
    )
    return grads


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fills `output` (N, C) with the focal loss of every logit (Lin et al. 2017, equation 5).

    Args:
        input: (N, C) logits.
        target: (N,) class, C for background.
        weight: (C,) per class of the target, or empty.
        output: (N, C).
        gamma: the focus on hard ones.
        alpha: the weight of the foreground, 1 - alpha that of the background.
    """
    x, alpha_t = _signed(input, target, alpha)
    loss = -alpha_t * torch.sigmoid(-x) ** gamma * logsigmoid(x)
    output.copy_(loss * _class_weight(weight, target)[:, None])


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fills `grad_input` (N, C) with the derivative of each loss by its logit."""
    x, alpha_t = _signed(input, target, alpha)
    p, q = torch.sigmoid(x), torch.sigmoid(-x)
    grad = -alpha_t * q**gamma * (q - gamma * p * logsigmoid(x))
    sign = torch.where(_hits(target, input.shape[1]), 1, -1)
    grad_input.copy_(grad * sign * _class_weight(weight, target)[:, None])


def softmax_focal_loss_forward(
    softmax: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fills `output` (N,) with the focal loss of the target's probability; 0 where the target is negative.

    Args:
        softmax: (N, C) probabilities.
        target: (N,) class, negative to be ignored.
        weight: (C,) per class, or empty.
        output: (N,).
        gamma: the focus on hard ones.
        alpha: a factor.
    """
    p = _of_target(_wide(softmax), target)
    loss = -alpha * (1 - p) ** gamma * p.clamp_min(_TINY).log() * _class_weight(weight, target)
    output.copy_(torch.where(target >= 0, loss, 0))


def softmax_focal_loss_backward(
    softmax: Tensor, target: Tensor, weight: Tensor, buff: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fills `grad_input` (N, C) with the derivatives by the logits, and `buff` (N,) with their common factor."""
    probabilities = _wide(softmax)
    p = _of_target(probabilities, target)
    q = 1 - p
    factor = alpha * (gamma * q ** (gamma - 1) * p * p.clamp_min(_TINY).log() - q**gamma)
    factor = torch.where(target >= 0, factor * _class_weight(weight, target), 0)
    buff.copy_(factor)
    grad_input.copy_(factor[:, None] * (_hits(target, softmax.shape[1]).to(p.dtype) - probabilities))


def _signed(input: Tensor, target: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """The logit of the truth in every column (the paper's p_t is its sigmoid), and alpha_t, both (N, C).

    mmcv's kernel takes 1 - p as a difference, which loses the digits of a confident p; this keeps them.
    """
    x, hit = _wide(input), _hits(target, input.shape[1])
    return torch.where(hit, x, -x), torch.where(hit, alpha, 1 - alpha)


def _hits(target: Tensor, classes: int) -> Tensor:
    """(N, C), whether the column is the target."""
    return target[:, None] == torch.arange(classes, device=target.device)


def _of_target(probabilities: Tensor, target: Tensor) -> Tensor:
    return probabilities.gather(1, target.clamp_min(0)[:, None]).squeeze(1)


def _class_weight(weight: Tensor, target: Tensor) -> Tensor:
    """(N,) the weight of each target's class; ones where no weights are given.

    Raises:
        RequestError: a target without a weight (mmcv reads whatever lies behind the table in memory).
    """
    if not weight.numel():
        return torch.ones_like(target, dtype=torch.float32)
    if target.numel() and int(target.max()) >= weight.numel():
        raise RequestError(
            "class weights for targets that are classes",
            f"target {int(target.max())} and {weight.numel()} weights",
            "leave the weights out, or give one for the background too",
        )
    return _wide(weight)[target.clamp_min(0)]


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
