"""Whether attacks by gradients can be believed: what has to hold of their figures, tested against luck.

From the checklist of Carlini et al. 2019 ("On evaluating adversarial robustness", section 5) and Athalye, Carlini and
Wagner 2018 (section 3.1): a larger ball can only help an attack, many steps are no weaker than one, and several attacks
no weaker than one of them. Where it does not hold, gradients lead astray ("masking") and the network is weaker than it
seems. FGSM is not asked about larger balls: it believes in one gradient for the whole way, which leads worse the
farther it goes on networks of every kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from benchmark.errors import BackboneError
from benchmark.metrics.adversarial import Attack
from benchmark.metrics.significance import mcnemar_one_sided

LUCK = 0.01
"""One-sided level of the exact test, per pair of attacks."""


def violations(right: Mapping[Attack, np.ndarray]) -> list[dict[str, Any]]:
    """Pairs in which the attack that has to be the stronger one fools fewer images.

    Args:
        right: attack -> (N,) whether each image is classified rightly under it; NaN where it was not attacked so.

    Returns:
        JSON-able: `weaker` and `stronger` attack, `images` under both, top-1 under both, and `p`, how likely such a
        difference or a larger one is by luck.
    """
    found = []
    for weaker, stronger in _pairs(right):
        both = ~np.isnan(right[weaker]) & ~np.isnan(right[stronger])
        before, after = right[weaker][both] == 1, right[stronger][both] == 1
        lost, gained = int((before & ~after).sum()), int((~before & after).sum())
        if gained > lost:
            found.append(
                {
                    "weaker": weaker.name,
                    "stronger": stronger.name,
                    "images": int(both.sum()),
                    "top1_weaker": round(100 * float(before.mean()), 4),
                    "top1_stronger": round(100 * float(after.mean()), 4),
                    "p": mcnemar_one_sided(lost, gained),
                }
            )
    return found


def refuse(found: list[dict[str, Any]], zero_gradients: float | None) -> None:
    """Stops a protocol whose figures would flatter.

    Args:
        found: `violations`.
        zero_gradients: share of the attacked images whose gradient is 0 in every pixel; None where none was attacked.

    Raises:
        BackboneError: no image has a gradient, or a violation is more than luck.
    """
    if zero_gradients == 1:
        raise BackboneError(
            "a loss whose gradient reaches the pixels",
            "a gradient of exactly 0 for every image, which hides adversarial images from every attack that follows it",
            "take rounding and other flat functions out of the network, or judge it without this protocol",
        )
    worst = min(found, key=lambda pair: pair["p"], default=None)
    if worst is not None and worst["p"] < LUCK:
        raise BackboneError(
            f"{worst['stronger']} to be no weaker an attack than {worst['weaker']}",
            f"top-1 {worst['top1_stronger']:.1f} against {worst['top1_weaker']:.1f} of {worst['images']} images "
            f"(p = {worst['p']:.2g}): its gradients lead astray, and it is weaker than these figures say",
            "look for rounding, randomness or saturation in the network; its robustness cannot be ranked",
        )


def _pairs(right: Mapping[Attack, np.ndarray]) -> Iterator[tuple[Attack, Attack]]:
    """(weaker, stronger) attacks."""
    rank = ("fgsm", "pgd", "autoattack")
    for weaker in right:
        for stronger in right:
            larger = weaker.kind == stronger.kind != "fgsm" and weaker.eps < stronger.eps
            harder = weaker.eps == stronger.eps and rank.index(weaker.kind) + 1 == rank.index(stronger.kind)
            if larger or harder:
                yield weaker, stronger
