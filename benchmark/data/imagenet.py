"""The thousand classes of ImageNet-1k and their order: what a head of 1,000 outputs means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from timm.data import ImageNetInfo

from benchmark.errors import NotApplicable, nearest


@cache
def imagenet_classes() -> Mapping[str, int]:
    """WordNet id -> place in the order of ILSVRC 2012 (sorted ids), from timm's table of it."""
    return {str(name): place for place, name in enumerate(ImageNetInfo("imagenet-1k").label_names())}


def imagenet_positions(classes: Sequence[str]) -> list[int]:
    """The places of classes among the thousand.

    Args:
        classes: WordNet ids (`n01440764`), as the folders of ImageNet are named.

    Raises:
        NotApplicable: a class is none of them.
    """
    known = imagenet_classes()
    strange = [name for name in classes if name not in known]
    if strange:
        found = f"{strange[0]!r} ({len(strange)} such)"
        raise NotApplicable("classes named by the WordNet ids of ImageNet-1k", found, nearest(strange[0], known))
    return [known[name] for name in classes]
