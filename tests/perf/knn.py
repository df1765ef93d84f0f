"""k-NN for four k against one bare search, and against the published way of evaluating it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

from tasks.solvers.neighbours import search, vote
from tests.perf.registry import Row, Setting, benchmark, seconds

KS = (10, 20, 100, 200)
CLASSES = 1000
TEMPERATURE = 0.07


def data(setting: Setting) -> tuple[Tensor, Tensor, Tensor]:
    """Training features (100,000 x 384), test features (10,000 x 384) and training labels, clustered by class."""
    train, test = (10_000, 1000) if setting.quick else (100_000, 10_000)
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(CLASSES, 384, generator=generator)
    labels, wanted = torch.arange(train) % CLASSES, torch.arange(test) % CLASSES
    x = means[labels] + 2 * torch.randn(train, 384, generator=generator)
    z = means[wanted] + 2 * torch.randn(test, 384, generator=generator)
    return x.to(setting.device), z.to(setting.device), labels.to(setting.device)


def published(train: Tensor, test: Tensor, labels: Tensor, k: int) -> Tensor:
    """DINO's published evaluation: 100 parts of the test set, each a product, a top-k and a one-hot vote."""
    predictions = []
    for part in test.chunk(100):
        similarity, indices = (part @ train.T).topk(k, dim=1)
        votes = torch.zeros(part.shape[0] * k, CLASSES, device=part.device)
        votes.scatter_(1, labels[indices].reshape(-1, 1), 1)
        weighted = votes.view(part.shape[0], k, CLASSES) * (similarity / TEMPERATURE).exp()[:, :, None]
        predictions.append(weighted.sum(1).argmax(1))
    return torch.cat(predictions)


@benchmark("knn")
def knn(setting: Setting) -> Iterator[Row]:
    """Ours searches once and votes for every k; the published loop runs once for each k."""
    train, test, labels = data(setting)
    search(train[:1000], test[:100], 10)  # set-up is nobody's time

    def four() -> list[Tensor]:
        similarity, indices = search(train, test, max(KS))
        weights = (similarity.double() / TEMPERATURE).exp()
        return [scores.argmax(1) for scores in vote(weights, labels[indices], KS, CLASSES)]

    def loop() -> list[Tensor]:
        unit, queries = normalize(train, dim=1), normalize(test, dim=1)
        return [published(unit, queries, labels, k) for k in KS]

    one, _ = seconds(lambda: search(train, test, max(KS)), setting)
    ours, found = seconds(four, setting)
    peer, reference = seconds(loop, setting)
    agree = min(float((a == b).double().mean()) for a, b in zip(found, reference, strict=True))
    shape = f"{len(train)} x 384, {len(test)} queries"
    yield Row.at_most("k-NN, four k / one search", ours, one, 1.15, sound=agree > 0.999, shape=shape, agreement=agree)
    yield Row.faster("k-NN, four k / DINO's loop over k", ours, peer, 1.0, sound=agree > 0.999, agreement=agree)
