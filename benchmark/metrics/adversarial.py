"""The `adversarial` scorer: top-1 of clean images, and of the same images under each attack."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from benchmark.metrics import columns
from benchmark.metrics.estimate import Estimate, share
from benchmark.metrics.names import with_variant

VERSION = 1
KINDS: tuple[str, ...] = ("fgsm", "pgd", "autoattack")
"""From weak to strong."""
_NAME = re.compile(rf"({'|'.join(KINDS)})-(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Attack:
    """An attack at a radius.

    Attributes:
        kind: one of `KINDS`.
        eps: the radius in the maximum norm, in 255ths of the range from black to white.
    """

    kind: str
    eps: float

    @property
    def name(self) -> str:
        """`pgd-4`: the column of its predictions and the variant of its metric."""
        return f"{self.kind}-{self.eps:g}"

    @property
    def radius(self) -> float:
        """Where black is 0 and white 1."""
        return self.eps / 255


def adversarial_table(
    ids: pa.Array, targets: np.ndarray, clean: np.ndarray, predictions: Mapping[Attack, np.ndarray], classes: int
) -> pa.Table:
    """A row per image.

    Args:
        ids: (N,) Arrow strings.
        targets: (N,) integers.
        clean: (N,) the best class of the image as it is.
        predictions: attack -> (N,) the best class under it, -1 where the image was not asked about.
        classes: C.
    """
    n = len(targets)
    table = {
        "variant": pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([""], pa.string())),
        "draw": pa.array(np.zeros(n, np.int32)),
        "sample": pa.concat_arrays(ids.chunks).cast(pa.string()) if isinstance(ids, pa.ChunkedArray) else ids,
        "target": pa.array(targets.astype(np.int32)),
        "clean": pa.array(clean.astype(np.int32)),
    }
    for attack, found in predictions.items():
        table[attack.name] = pa.array(found.astype(np.int32), mask=found < 0)
    return columns.stamp(pa.table(table), "adversarial", classes)


def estimates(table: pa.Table) -> list[Estimate]:
    """`top1` of the clean images, and `top1@pgd-4` and the like of those asked about under each attack.

    Raises:
        ResultError: no attack, classes that are none, images without an answer under anything but AutoAttack, or an
            image that is right under an attack and wrong without.
    """
    classes = columns.facts_of(table)["classes"]
    ids, _, tables = columns.by_draw(table)
    if len(tables) != 1:
        raise columns.malformed("one draw", f"{len(tables)}")
    rows = tables[0]
    attacks = _attacks(rows)
    if not attacks:
        raise columns.malformed("a column of an attack, such as 'pgd-4'", f"columns {rows.column_names}")
    targets = columns.integers(rows, "target", classes)
    clean = columns.integers(rows, "clean", classes) == targets
    found = [share("top1", ids, targets, clean)]
    for attack in attacks:
        asked = np.ones(len(ids), bool)
        if attack.kind == "autoattack":
            asked = rows.column(attack.name).is_valid().to_numpy()
        if not asked.any():
            raise columns.malformed(f"an answer in {attack.name!r}", "none")
        hit = columns.integers(rows.filter(pa.array(asked)), attack.name, classes) == targets[asked]
        if (hit & ~clean[asked]).any():
            raise columns.malformed(
                "images that are wrong under every attack where they are wrong without",
                f"{int((hit & ~clean[asked]).sum())} right under {attack.name}",
            )
        found.append(share(with_variant("top1", attack.name), ids[asked], targets[asked], hit))
    return found


def _attacks(table: pa.Table) -> list[Attack]:
    """Those that a table has columns of, from weak to strong and near to far."""
    named = [match for match in map(_NAME.fullmatch, table.column_names) if match]
    return sorted(
        (Attack(match[1], float(match[2])) for match in named), key=lambda one: (KINDS.index(one.kind), one.eps)
    )
