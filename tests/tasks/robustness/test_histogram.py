"""The probes of colour against scikit-learn's classifiers and regressions on the same images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmark.metrics.registry import score
from benchmark.task import ShiftInputs
from tasks.robustness.colour import ColourSettings
from tasks.robustness.histogram import PENALTIES, colours, fit_colour_probe
from tasks.robustness.task import Robustness
from tasks.sampling import held_out
from tests.tasks.robustness.photos import Pictures, pixels_of_test, shift_inputs

PROTOCOL = ColourSettings(name="x", lambdas=7, lambda_min=1e-3, lambda_max=1e3, turned=(120,))


@pytest.fixture(scope="module")
def inputs() -> ShiftInputs:
    return shift_inputs(train=90, test=30)


def colours_of(split) -> np.ndarray:
    """Square roots of the histogram, by NumPy."""
    assert isinstance(split.reader, Pictures)
    edges = [np.arange(5) * 64] * 3
    planes = [image.reshape(3, -1).T.astype(float) for image in split.reader.pixels]
    return np.stack([np.sqrt(np.histogramdd(plane, edges)[0].ravel() / len(plane)) for plane in planes])


def explained(truth: np.ndarray, said: np.ndarray) -> float:
    """Percent of the variance of all cells together (scikit-learn leaves out errors in cells that never vary)."""
    return 100 * (1 - ((truth - said) ** 2).sum() / ((truth - truth.mean(axis=0)) ** 2).sum())


def regression(penalty: float):
    return make_pipeline(StandardScaler(), Ridge(alpha=penalty))


def test_the_regression_is_scikit_learns_at_the_penalty_that_is_best_on_held_out_images(inputs: ShiftInputs) -> None:
    probe = fit_colour_probe(inputs, PROTOCOL, seed=1)
    train, test = inputs.features.train, inputs.features.test
    x, y = train.features.double().numpy(), colours_of(inputs.images.train)
    out = held_out(train, 0.1, 1)
    curve = []
    for penalty in PENALTIES.tolist():
        said = regression(penalty).fit(x[~out], y[~out]).predict(x[out])
        curve.append(((y[out] - said) ** 2).sum(axis=1).mean())
    found = probe.details["regression"]
    assert [one["error"] for one in found["curve"]] == pytest.approx(curve, rel=1e-4)
    assert found["penalty"] == pytest.approx(PENALTIES[int(np.argmin(curve))])
    wanted = regression(found["penalty"]).fit(x, y).predict(test.features.double().numpy())
    np.testing.assert_allclose(probe.predicted(test.features).numpy(), wanted, atol=1e-5)


def test_both_figures_are_those_of_scikit_learn(inputs: ShiftInputs) -> None:
    found = Robustness().predict(inputs, PROTOCOL, seed=1)
    figures = {metric.name: metric.value for metric in score(found.table)}
    details = found.details["histogram"]
    train, test = inputs.features.train, inputs.features.test
    seen, asked = colours_of(inputs.images.train), colours_of(inputs.images.test)
    model = regression(details["regression"]["penalty"]).fit(train.features.double().numpy(), seen)
    said = model.predict(test.features.double().numpy())
    assert figures["r2@histogram"] == pytest.approx(explained(asked, said), abs=1e-4)
    head = make_pipeline(StandardScaler(), LogisticRegression(C=1 / details["classifier"]["lambda"], max_iter=5000))
    best = head.fit(seen, train.targets.numpy()).predict(asked)
    np.testing.assert_array_equal(np.array(found.table["histogram"]), best)
    assert 50 < figures["top1@histogram"] < 100  # half of the images have the colour of their class
    assert details["train_images"] == 90 and details["bins"] == 4


def test_the_reported_images_decide_nothing(inputs: ShiftInputs) -> None:
    other = shift_inputs(train=90, test=30, seed=0)
    changed = replace(other.features, test=replace(other.features.test, features=other.features.test.features * 0))
    one, two = (fit_colour_probe(some, PROTOCOL, 0) for some in (inputs, replace(other, features=changed)))
    assert torch.equal(one.weights, two.weights) and one.details == two.details


def test_a_dataset_s_own_selection_split_can_choose_the_penalties() -> None:
    inputs = shift_inputs(train=60, test=12, val=21)
    found = fit_colour_probe(inputs, PROTOCOL.model_copy(update={"own_val": True}), seed=0)
    train, val = inputs.features.train, inputs.features.val
    assert val is not None and inputs.images.val is not None
    y, truth = colours_of(inputs.images.train), colours_of(inputs.images.val)
    said = [
        regression(penalty).fit(train.features.double(), y).predict(val.features.double())
        for penalty in PENALTIES.tolist()
    ]
    curve = [((truth - one) ** 2).sum(axis=1).mean() for one in said]
    assert [one["error"] for one in found.details["regression"]["curve"]] == pytest.approx(curve, rel=1e-4)
    assert found.details["classifier"]["n_refit"] == 81


def test_only_so_many_training_images_are_read_again_as_many_of_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = shift_inputs(train=90, test=6)
    read: list[int] = []
    plain = Pictures.read
    monkeypatch.setattr(Pictures, "read", lambda self, index: (read.append(index), plain(self, index))[1])
    found = fit_colour_probe(inputs, PROTOCOL.model_copy(update={"train_images": 31}), seed=0)
    assert found.details["train_images"] == 30 == len(read)
    targets = inputs.features.train.targets.numpy()[read]
    assert np.bincount(targets).tolist() == [10, 10, 10]


def test_colours_have_length_one(inputs: ShiftInputs) -> None:
    found = colours(pixels_of_test(inputs), 4)
    assert found.dtype == torch.float32 and found.shape == (30, 64)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(30))
    np.testing.assert_allclose(found.numpy(), colours_of(inputs.images.test), atol=1e-7)
