"""Heads of mmseg that learn from some pixels of every crop: what a CPU can afford where classes are many.

Of a head on a map of stride 4, enlarging the scores of a hundred classes to all pixels takes several times as long as
everything that computed them, and neighbouring pixels say nearly the same.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from mmseg.models.decode_heads import FCNHead, UPerHead
from torch import Tensor

from tasks.segmentation.head import drawn_loss, sampled


class _Drawn:
    """What replaces the loss of a head of mmseg; `pixels` is its own argument."""

    ignore_index: int
    loss_decode: Any

    def __init__(self, *args: Any, pixels: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.pixels = pixels

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: Any) -> dict[str, Tensor]:
        """The mean cross-entropy of drawn pixels, from the process's generator, at the weight of the head's loss."""
        masks = torch.cat([sample.gt_sem_seg.data for sample in batch_data_samples])
        scores_at = partial(_scores_at, seg_logits)
        loss = drawn_loss(scores_at, masks, self.ignore_index, self.pixels, torch.default_generator)
        return {"loss_ce": self.loss_decode.loss_weight * loss}


class DrawnUPerHead(_Drawn, UPerHead):
    """UPerNet's."""


class DrawnFCNHead(_Drawn, FCNHead):
    """FCN's."""


def learn_from_drawn_pixels(config: dict[str, Any], pixels: int) -> None:
    """Has both heads of UPerNet learn from `pixels` pixels of every crop, drawn anew each time, in place."""
    config["decode_head"].update(type=DrawnUPerHead, pixels=pixels)
    config["auxiliary_head"].update(type=DrawnFCNHead, pixels=pixels)


def _scores_at(scores: Tensor, grid: Tensor) -> Tensor:
    return sampled(scores, grid)[:, :, 0]
