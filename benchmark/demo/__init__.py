"""The demo: four tiny backbones on generated scenes, from files of weights to the table in a few minutes.

`cards.yaml` and `weights/` are what ships, `battery.yaml` what they are asked · `train` makes the weights, on top of
`augment` (random views), `pool` (the training scenes), `methods` (what each learns from) and `loop`. May import every
other floor; none imports it. The shipped files go through the same door as anybody's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.runner.request import RunRequest

CARDS = Path(__file__).parent / "cards.yaml"
BATTERY = Path(__file__).parent / "battery.yaml"


def demo_request(out: Path, cache: Path | None, device: str) -> RunRequest:
    """The frozen battery and frozen segmentation on `scenes:` for the shipped backbones.

    Args:
        out: where results go.
        cache: where features are kept; None for the default.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
    """
    # Not above: the processes that draw training scenes import this package and are to start without torch.
    from benchmark.runner.request import RunRequest, default_cache
    from benchmark.suites.cards import load_cards

    return RunRequest(load_cards(CARDS), suite=str(BATTERY), out=out, cache=cache or default_cache(), device=device)
