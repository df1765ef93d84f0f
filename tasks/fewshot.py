"""Few-shot episodes on stored features: prototypes of a handful of images, a handful of classes at a time."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from benchmark.errors import NotApplicable
from benchmark.metrics.columns import episodes_table, join
from benchmark.protocol import ProtocolSettings
from benchmark.task import Inputs, Labels, Predictions, Task
from tasks.episodes import Episodes, Members, Similarity, predict


class FewShotSettings(ProtocolSettings):
    """Snell et al. 2017 on frozen features, as in ssl-transfer.

    Attributes:
        way: classes per episode.
        shots: support images per class.
        queries: query images per class.
        episodes: how many.
        metric: squared Euclidean distance on features as they are, or cosine similarity; prototypes are means of
            unnormalised features either way.
    """

    way: int = 5
    shots: tuple[int, ...] = (1, 5, 20, 50)
    queries: int = 15
    episodes: int = 600
    metric: Similarity = "euclidean"


class FewShot(Task):
    """N-way k-shot episodes. Support images come from train and queries from the reported split: none is in both.

    A class with fewer than k training or 15 reported images cannot take part; `details` lists it. Where fewer than
    `way` classes are left, that k is left out, with the reason in `details`.
    """

    name = "fewshot"
    summary = "5-way episodes with class-mean prototypes, 1 to 50 shots, mean over 600 episodes"
    scorer = "episodes"
    headline = "top1@5way-1shot"
    protocols: ClassVar = {
        "fewshot/proto": FewShotSettings(name="fewshot/proto", summary="squared Euclidean, unnormalised features"),
        "fewshot/cosine": FewShotSettings(name="fewshot/cosine", metric="cosine", summary="cosine to the prototypes"),
    }

    def headline_of(self, protocol: ProtocolSettings, dataset: str, multilabel: bool) -> str:
        """The fewest shots, which any dataset that has episodes at all can give."""
        assert isinstance(protocol, FewShotSettings)
        return f"top1@{protocol.way}way-{min(protocol.shots)}shot"

    def check(self, protocol: ProtocolSettings, labels: Labels) -> None:
        """Some k must leave enough classes.

        Raises:
            NotApplicable: none does.
        """
        super().check(protocol, labels)
        assert isinstance(protocol, FewShotSettings)
        support, query = (np.bincount(part, minlength=len(labels.classes)) for part in (labels.train, labels.reported))
        facts = [
            _facts(labels.classes, _able(support, query, protocol, shots), protocol, shots) for shots in protocol.shots
        ]
        if all("left_out" in fact for fact in facts):
            reason = "; ".join(fact["left_out"] for fact in facts)
            raise NotApplicable("enough images per class for an episode", reason, "use a larger dataset")

    def predict(self, inputs: Inputs, protocol: FewShotSettings, seed: int) -> Predictions:
        """Runs all episodes of every k that leaves enough classes (`check` has seen that there is one)."""
        support, query = (Members.of(split, len(inputs.classes)) for split in (inputs.train, inputs.test))
        tables: list[pa.Table] = []
        details: dict[str, Any] = {}
        for step, shots in enumerate(protocol.shots):
            able = _able(support.sizes, query.sizes, protocol, shots)
            details[f"{shots}shot"] = facts = _facts(inputs.classes, able, protocol, shots)
            if "left_out" not in facts:
                rng = np.random.default_rng([seed, shots])
                classes = able[Episodes.choose(rng, np.full(protocol.episodes, len(able)), protocol.way)]
                episodes = Episodes.draw(rng, classes, support, shots, query, protocol.queries)
                tables.append(_rows(inputs, protocol, shots, episodes))
            inputs.progress(step + 1, len(protocol.shots), f"{shots}-shot")
        return Predictions(join(tables), details=details)


def _able(support: np.ndarray, query: np.ndarray, protocol: FewShotSettings, shots: int) -> np.ndarray:
    """The classes with enough images on both sides, from the (C,) numbers of images per class."""
    return np.flatnonzero((support >= shots) & (query >= protocol.queries))


def _facts(names: tuple[str, ...], able: np.ndarray, protocol: FewShotSettings, shots: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"classes": len(able)}
    if len(able) < len(names):
        facts["classes_left_out"] = [names[index] for index in sorted(set(range(len(names))) - set(able.tolist()))]
    if len(able) < protocol.way:
        facts["left_out"] = (
            f"{shots}-shot takes {protocol.way} classes of {shots} training and {protocol.queries} reported images, "
            f"{len(able)} have them"
        )
    return facts


def _rows(inputs: Inputs, protocol: FewShotSettings, shots: int, episodes: Episodes) -> pa.Table:
    """One row per query of every episode."""
    slots = predict(inputs.train.features, inputs.test.features, episodes, protocol.metric)
    count, way, queries = episodes.query.shape
    return episodes_table(
        episode=np.repeat(np.arange(count), way * queries),
        ids=inputs.test.ids.take(pa.array(episodes.query.ravel())),
        targets=np.repeat(episodes.classes.ravel(), queries),
        predictions=np.take_along_axis(episodes.classes, slots.reshape(count, -1), axis=1).ravel(),
        classes=len(inputs.classes),
        variant=f"{way}way-{shots}shot",
    )
