"""Which released weights a measured model is, as the published table names them.

identify(model) -> Identity                       by its card, or by a SPEC that names them exactly
aliases() -> dict[str, str]                       SPEC -> name in the table, from `weights.yaml`
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmark.errors import ResultError, nearest
from benchmark.results.schema import ModelRecord
from benchmark.suites.document import parse, read_yaml
from leaderboard.published.rows import weights_names

SHIPPED = Path(__file__).with_name("weights.yaml")

_IMG_SIZE = re.compile(r"\?img_size=\d+$")
"""The option that only binds a network to a size: the weights stay what they are."""


@dataclass(frozen=True)
class Identity:
    """Which released weights a measured model is.

    Attributes:
        weights: their name in the published table; None where that is not certain.
        reason: why not, with the nearest known name; empty where it is.
    """

    weights: str | None
    reason: str = ""


class Alias(BaseModel):
    """Another exact name of released weights.

    Attributes:
        spec: as `--checkpoint` takes it.
        weights: the name in the published table.
        file: the authors' file that the hub says it fetches or was converted from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: str
    weights: str
    file: str


class _Aliases(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    aliases: tuple[Alias, ...]


def identify(model: ModelRecord, known: Iterable[str] | None = None) -> Identity:
    """Which released weights a model is: what its card says, or a SPEC that names them exactly.

    `timm:NAME` and `openclip:ARCH/TAG` are weights of a hub under the names that the table takes from it, and
    `weights.yaml` lists further SPECs. The name of a local file proves nothing about its content: it is not gone by.
    """
    names = weights_names() if known is None else frozenset(known)
    if model.weights is not None:
        if model.weights in names:
            return Identity(model.weights)
        hint = nearest(model.weights, names)
        return Identity(None, f"no published figure is of weights called {model.weights}: {hint}")
    spec = _IMG_SIZE.sub("", model.spec)
    hub, _, name = spec.partition(":")
    own = {"timm": f"timm_{name}", "openclip": f"open_clip_{name.replace('/', '_')}"}.get(hub)
    for weights in (own, aliases().get(spec)):
        if weights in names:
            return Identity(weights)
    return Identity(None, "its card does not say which released weights it is (`weights`)")


@cache
def aliases() -> dict[str, str]:
    """SPEC -> name in the published table."""
    return {alias.spec: alias.weights for alias in read_aliases(SHIPPED)}


def read_aliases(path: Path) -> tuple[Alias, ...]:
    """The aliases of a file.

    Raises:
        SuiteError: unreadable, unknown keys or wrong values.
        ResultError: a SPEC twice, or weights that no published figure is of.
    """
    found = parse(_Aliases, read_yaml(path), str(path)).aliases
    seen: set[str] = set()
    for alias in found:
        if alias.weights not in weights_names():
            hint = nearest(alias.weights, weights_names())
            raise ResultError("weights of the published table", f"{path.name}: {alias.weights}", hint)
        if alias.spec in seen:
            raise ResultError("a SPEC once", f"{path.name}: {alias.spec} twice", "remove one of them")
        seen.add(alias.spec)
    return found
