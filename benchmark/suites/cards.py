"""Model cards: the checkpoints of one run, how to open each, and what each is."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from benchmark.errors import SuiteError
from benchmark.suites.document import parse, read_yaml


class ModelCard(BaseModel):
    """One checkpoint: the same choices as on the command line.

    Attributes:
        name: what results and tables call it.
        checkpoint: a SPEC (`path`, `timm:NAME`, `torchvision:NAME/WEIGHTS`, `random:ARCH` ...); relative paths are
            relative to the cards file.
        arch, layout, key: as `--arch`, `--layout`, `--key`.
        preprocess: as `--preprocess`, one `k=v` each.
        method, pretraining_data, epochs, licence, link: what the checkpoint is and where it came from; carried into
            every result and table, and what apples-to-apples reading goes by.
        weights: released weights that the file is, as published figures name them; `table --published` puts those
            figures beside the measured ones, and names the nearest known name of an unknown one.
        groups: further free facts to group models by.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    checkpoint: str = Field(min_length=1)
    arch: str | None = None
    layout: str | None = None
    key: str | None = None
    preprocess: tuple[str, ...] = ()
    method: str | None = None
    pretraining_data: str | None = None
    epochs: int | None = Field(default=None, ge=0)
    licence: str | None = None
    link: str | None = None
    weights: str | None = None
    groups: dict[str, str] = Field(default_factory=dict)


class Cards(BaseModel):
    """The content of a cards file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[ModelCard, ...] = Field(min_length=1)


def load_cards(path: Path) -> tuple[ModelCard, ...]:
    """The cards of a YAML file.

    Raises:
        SuiteError: unreadable, unknown keys, wrong values, or a name that appears twice.
    """
    cards = parse(Cards, read_yaml(path), str(path)).models
    names = [card.name for card in cards]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SuiteError("a name per model", f"{path}: {twice} twice", "rename one of them")
    return tuple(_resolved(card, path.parent) for card in cards)


def _resolved(card: ModelCard, folder: Path) -> ModelCard:
    beside = folder / card.checkpoint
    if not Path(card.checkpoint).is_absolute() and beside.exists():
        return card.model_copy(update={"checkpoint": str(beside)})
    return card
