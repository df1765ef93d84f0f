"""Figures on corrupted images, against sums by hand."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from benchmark.errors import ResultError
from benchmark.metrics.corruptions import ALEXNET, ALEXNET_CLEAN, EXTRA, FIFTEEN, MEAN, by_severity, corruptions_table
from benchmark.metrics.registry import get_scorer, score
from tasks.corruptions import registry

N, CLASSES = 40, 4


@pytest.fixture
def parts() -> tuple[pa.Array, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    targets = rng.integers(CLASSES, size=N)
    found = {name: rng.integers(CLASSES, size=(N, 5)) for name in (*FIFTEEN, *EXTRA)}
    return pa.array([f"i{k}" for k in range(N)]), targets, rng.integers(CLASSES, size=N), found


def test_the_corruptions_are_those_of_the_operators() -> None:
    assert tuple(registry.NAMES) == FIFTEEN and tuple(registry.EXTRA) == EXTRA


def test_means_are_over_fifteen_corruptions_and_five_severities(parts) -> None:
    ids, targets, clean, found = parts
    figures = {metric.name: metric for metric in score(corruptions_table(ids, targets, clean, found, CLASSES))}
    by_hand = [100 * np.mean([found[name][:, s] != targets for s in range(5)]) for name in FIFTEEN]
    assert figures["mean_error"].value == pytest.approx(np.mean(by_hand))
    assert figures["mean_drop"].value == pytest.approx(np.mean(by_hand) - 100 * np.mean(clean != targets))
    assert figures["top1"].value == pytest.approx(100 * np.mean(clean == targets))
    assert figures["error@fog"].value == pytest.approx(by_hand[FIFTEEN.index("fog")])
    assert figures["error@noise"].value == pytest.approx(np.mean(by_hand[:3]))
    assert figures["error@spatter"].value == pytest.approx(100 * np.mean(found["spatter"] != targets[:, None]))
    assert not figures["mean_error"].higher_is_better and figures["top1"].higher_is_better
    for metric in figures.values():
        assert metric.ci_low <= metric.value <= metric.ci_high and metric.n == N


def test_the_extra_four_enter_no_mean(parts) -> None:
    ids, targets, clean, found = parts
    fifteen = {name: found[name] for name in FIFTEEN}
    one, other = (
        {metric.name: metric.value for metric in score(corruptions_table(ids, targets, clean, these, CLASSES))}
        for these in (fifteen, found)
    )
    assert one.items() <= other.items() and len(other) == len(one) + 4


def test_errors_by_severity_average_to_the_figures(parts) -> None:
    ids, targets, clean, found = parts
    table = corruptions_table(ids, targets, clean, found, CLASSES)
    curves = by_severity(table)
    assert set(curves) == {*FIFTEEN, *EXTRA, MEAN}
    for name, values in found.items():
        np.testing.assert_allclose(curves[name].error, [100 * np.mean(values[:, s] != targets) for s in range(5)])
        for s in range(5):  # Wilson's interval, as scipy has it
            limits = stats.binomtest(int((values[:, s] != targets).sum()), N).proportion_ci(method="wilson")
            assert (curves[name].low[s], curves[name].high[s]) == pytest.approx((100 * limits.low, 100 * limits.high))
    by_hand = [[100 * np.mean(found[name][:, s] != targets) for name in FIFTEEN] for s in range(5)]
    np.testing.assert_allclose(curves[MEAN].error, np.mean(by_hand, axis=1))
    figures = {metric.name: metric.value for metric in score(table)}
    assert curves[MEAN].error.mean() == pytest.approx(figures["mean_error"])
    assert (curves[MEAN].low < curves[MEAN].error).all() and (curves[MEAN].error < curves[MEAN].high).all()
    assert (curves[MEAN].high - curves[MEAN].low < curves["fog"].high - curves["fog"].low).all()  # fifteen say more


def test_a_missing_corruption_is_an_error_and_never_a_mean_over_fewer(parts) -> None:
    ids, targets, clean, found = parts
    for without in ("snow", "saturate"):
        rest = {name: values for name, values in found.items() if name != without}
        with pytest.raises(ResultError, match=f"none of {without}"):
            score(corruptions_table(ids, targets, clean, rest, CLASSES))


def test_wrong_tables_are_refused(parts) -> None:
    ids, targets, clean, found = parts
    with pytest.raises(ResultError, match="in \\[0, 4\\)"):
        score(corruptions_table(ids, targets, clean, {**found, "fog": found["fog"] + 4}, CLASSES))
    table = corruptions_table(ids, targets, clean, found, CLASSES)
    with pytest.raises(ResultError, match="columns of scorer"):
        get_scorer("classification")(table)


PAPER = {  # CE and relative CE of ResNet-50, Hendrycks and Dietterich 2019, tables 1 and 5 (rounded there)
    "gaussian_noise": (80, 104),
    "shot_noise": (82, 107),
    "impulse_noise": (83, 107),
    "defocus_blur": (75, 97),
    "glass_blur": (89, 126),
    "motion_blur": (78, 107),
    "zoom_blur": (80, 110),
    "snow": (78, 101),
    "frost": (75, 97),
    "fog": (66, 79),
    "brightness": (57, 62),
    "contrast": (71, 89),
    "elastic_transform": (85, 146),
    "pixelate": (77, 111),
    "jpeg_compression": (77, 132),
}


def test_mce_is_the_papers_of_a_network_with_the_papers_errors() -> None:
    n = 2000
    ids, targets = pa.array([f"i{k:04d}" for k in range(n)]), np.zeros(n, np.int64)

    def wrong(share: float) -> np.ndarray:
        return (np.arange(n) < round(share * n)).astype(np.int64)

    clean = wrong(0.2385)
    found = {name: np.repeat(wrong(ce / 100 * ALEXNET[name])[:, None], 5, axis=1) for name, (ce, _) in PAPER.items()}
    figures = {
        metric.name: metric for metric in score(corruptions_table(ids, targets, clean, found, 1000, "imagenet-c"))
    }
    assert figures["mCE"].value == pytest.approx(76.7, abs=0.2)
    assert figures["relative_mCE"].value == pytest.approx(105.0, abs=1.0)
    for name, (ce, _) in PAPER.items():
        assert figures[f"mCE@{name}"].value == pytest.approx(ce, abs=0.1)
    by_hand = [(np.mean(found[name]) - clean.mean()) / (ALEXNET[name] - ALEXNET_CLEAN) for name in PAPER]
    assert figures["relative_mCE"].value == pytest.approx(100 * np.mean(by_hand))
    assert figures["mean_error"].value == pytest.approx(100 * np.mean(list(found.values())))


def test_mce_needs_the_thousand_classes(parts) -> None:
    ids, targets, clean, found = parts
    with pytest.raises(ResultError, match="1,000 classes"):
        score(corruptions_table(ids, targets, clean, found, CLASSES, "imagenet-c"))
    with pytest.raises(ResultError, match="none of fog"):
        rest = {name: values for name, values in found.items() if name != "fog"}
        score(corruptions_table(ids, targets, clean, rest, 1000, "imagenet-c"))
