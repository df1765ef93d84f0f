import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

pytest.importorskip("mmcv", reason="the dense extra is not installed")

from benchmark.errors import RequestError
from benchmark.runner.provenance import compiled_mmcv
from tasks.openmmlab import kernels, ops
from tests.tasks.openmmlab.cases import CASES, boxes
from tests.tasks.openmmlab.make_reference import REFERENCE

# Two orders of summation in float32: figures of the reference are of the order of one to a hundred.
CLOSE = 2e-6


@pytest.fixture(scope="module", autouse=True)
def operators() -> ops.Operators:
    return ops.provide()


@pytest.mark.parametrize("case", CASES)
def test_an_operator_equals_that_of_a_compiled_mmcv_values_and_gradients(case: str) -> None:
    with np.load(REFERENCE, allow_pickle=False) as reference:
        cut = f"{case} | "
        expected = {name.removeprefix(cut): array for name, array in reference.items() if name.startswith(cut)}
    found = CASES[case]()
    assert found.keys() == expected.keys()
    if "order" in found and not np.array_equal(found["order"], expected["order"]):
        pytest.skip("this torch sorts equal scores otherwise than the reference's")
    for name, array in found.items():
        assert array.dtype == expected[name].dtype and array.shape == expected[name].shape
        if name == "indices":
            np.testing.assert_array_equal(array, expected[name])
        else:
            size = max(1.0, float(np.abs(expected[name]).max(initial=0)))
            np.testing.assert_allclose(array, expected[name], rtol=0, atol=CLOSE * size)


def test_the_reference_covers_what_is_hard() -> None:
    """Boxes that tie, boxes that go, regions without area, gradients of everything."""
    with np.load(REFERENCE, allow_pickle=False) as reference:
        assert str(reference["made_by"]).startswith("compiled mmcv")
        kept = len(reference["nms, ties | indices"])
        assert 20 < kept < 290
        assert np.abs(reference["modulated, bias, groups, stride | gradient of bias"]).min() > 0


@pytest.mark.parametrize("offset", [0, 1])
def test_among_equal_scores_the_first_in_torchs_order_wins(offset: int) -> None:
    """Greedy suppression written out, over whole boxes with many ties."""
    found, scores = boxes(300, 7, whole=True)
    corners = found.double().numpy()
    kept: list[int] = []
    for index in scores.sort(dim=0, descending=True).indices.tolist():
        x1, y1, x2, y2 = corners[index]
        for other in kept:
            a1, b1, a2, b2 = corners[other]
            shared = max(0, min(x2, a2) - max(x1, a1) + offset) * max(0, min(y2, b2) - max(y1, b1) + offset)
            areas = [(c[2] - c[0] + offset) * (c[3] - c[1] + offset) for c in corners[[index, other]]]
            if shared / (sum(areas) - shared) > 0.5:
                break
        else:
            kept.append(index)
    assert kernels.nms(found, scores, 0.5, offset).tolist() == kept


def test_no_box_at_all_is_kept_from_none() -> None:
    assert kernels.nms(torch.zeros(0, 4), torch.zeros(0), 0.5, 0).shape == (0,)


def _focal(x: torch.Tensor, target: torch.Tensor, gamma: float, alpha: float) -> torch.Tensor:
    """Lin et al. 2017, equation 5, in float64: -alpha_t (1 - p_t)^gamma log p_t of every logit."""
    t = torch.nn.functional.one_hot(target, x.shape[1] + 1)[:, :-1].bool()
    signed = torch.where(t, x, -x)
    alpha_t = torch.where(t, alpha, 1 - alpha)
    return -alpha_t * torch.sigmoid(-signed) ** gamma * torch.nn.functional.logsigmoid(signed)


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (1.5, 0.6), (0.0, 0.5)])
def test_the_sigmoid_focal_loss_and_its_gradient_are_the_papers(gamma: float, alpha: float) -> None:
    from mmcv.ops import sigmoid_focal_loss
    from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss
    from torchvision.ops import sigmoid_focal_loss as torchvisions

    torch.manual_seed(0)
    x = (torch.randn(200, 5) * 4).requires_grad_()
    target = torch.randint(0, 6, (200,))  # 5 is the background
    ours = sigmoid_focal_loss(x, target, gamma, alpha, None, "none")
    (gradient,) = torch.autograd.grad(ours.sum(), x)
    exact = x.detach().double().requires_grad_()
    paper = _focal(exact, target, gamma, alpha)
    (slope,) = torch.autograd.grad(paper.sum(), exact)
    torch.testing.assert_close(ours.double(), paper, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), slope, rtol=1e-5, atol=1e-6)
    hits = torch.nn.functional.one_hot(target, 6)[:, :5].float()
    for other in (
        torchvisions(x, hits, alpha, gamma, "none"),
        py_sigmoid_focal_loss(x, hits, gamma=gamma, alpha=alpha, reduction="none"),
    ):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-6)
    for reduction, whole in (("sum", paper.sum()), ("mean", paper.sum() / 200)):
        value = sigmoid_focal_loss(x, target, gamma, alpha, None, reduction)
        torch.testing.assert_close(value.double(), whole, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (1.0, 1.0)])
def test_the_softmax_focal_loss_and_its_gradient_are_the_papers(gamma: float, alpha: float) -> None:
    from mmcv.ops import softmax_focal_loss

    torch.manual_seed(1)
    x = (torch.randn(100, 4) * 3).requires_grad_()
    target = torch.randint(0, 4, (100,))
    target[3] = -1  # ignored
    weight = torch.tensor([1.0, 2.0, 0.5, 3.0])
    ours = softmax_focal_loss(x, target, gamma, alpha, weight, "sum")
    (gradient,) = torch.autograd.grad(ours, x)
    exact = x.detach().double().requires_grad_()
    valid = target >= 0
    p = exact.softmax(1)[valid, target[valid]]
    paper = (-alpha * weight[target[valid]] * (1 - p) ** gamma * p.log()).sum()
    torch.testing.assert_close(ours.double(), paper, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradient.double(), torch.autograd.grad(paper, exact)[0], rtol=1e-4, atol=1e-6)


def test_class_weights_follow_the_target_and_a_background_without_one_is_refused() -> None:
    from mmcv.ops import sigmoid_focal_loss

    x, target = torch.randn(3, 2), torch.tensor([0, 1, 1])
    plain = sigmoid_focal_loss(x, target, 2.0, 0.25, None, "none")
    weighted = sigmoid_focal_loss(x, target, 2.0, 0.25, torch.tensor([1.0, 3.0]), "none")
    torch.testing.assert_close(weighted, plain * torch.tensor([[1.0], [3.0], [3.0]]))
    with pytest.raises(RequestError, match="target 2 and 2 weights"):
        sigmoid_focal_loss(x, torch.tensor([0, 1, 2]), 2.0, 0.25, torch.ones(2), "none")


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32_and_rounded_once(kind: torch.dtype) -> None:
    from mmcv.ops import roi_align

    torch.manual_seed(2)
    maps, rois = torch.randn(1, 3, 12, 12), torch.tensor([[0.0, 1, 2, 9, 10]])
    half = maps.to(kind).requires_grad_()
    full = maps.to(kind).float().requires_grad_()
    found, expected = (roi_align(m, rois.to(m.dtype), (3, 3), 1.0, 0, "avg", True) for m in (half, full))
    assert found.dtype == kind
    assert torch.equal(found, expected.to(kind))
    found.sum().backward()
    expected.sum().backward()
    assert half.grad is not None and full.grad is not None
    assert torch.equal(half.grad, full.grad.to(kind))


@pytest.mark.skipif(compiled_mmcv() is True, reason="a compiled mmcv serves everything")
def test_an_operator_that_is_not_served_says_its_name_and_what_to_do() -> None:
    from mmcv.ops import soft_nms

    with pytest.raises(RequestError, match=r"mmcv\._ext\.softnms.*compile mmcv"):
        soft_nms(torch.tensor([[0.0, 0, 1, 1]]), torch.ones(1))
    with pytest.raises(RequestError, match="pool_mode='max'"):
        from mmcv.ops import roi_align

        roi_align(torch.ones(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 3, 3]]), (2, 2), 1.0, 0, "max", True)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts an mmcv in front whose extension is the source given, and forgets the real one for the test."""

    def make(extension: str) -> None:
        (tmp_path / "mmcv").mkdir()
        (tmp_path / "mmcv" / "__init__.py").write_text("")
        (tmp_path / "mmcv" / "_ext.py").write_text(extension)
        for name in [name for name in sys.modules if name.partition(".")[0] in ("mmcv", "mmdet", "mmseg")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(tmp_path)

    yield make
    for name in ("mmcv", ops.EXTENSION):
        sys.modules.pop(name, None)  # monkeypatch puts the real ones back


def test_a_compiled_mmcv_is_used_where_there_is_one(package: Callable[[str], None]) -> None:
    package("nms = 'theirs'")
    assert compiled_mmcv() and ops.provide().compiled
    assert sys.modules[ops.EXTENSION].nms == "theirs"


def test_a_compiled_mmcv_for_another_torch_stops_instead_of_being_replaced(package: Callable[[str], None]) -> None:
    package("raise ImportError('undefined symbol')")
    with pytest.raises(RequestError, match=r"expected a compiled mmcv that fits torch.*undefined symbol"):
        ops.provide()
    assert ops.EXTENSION not in sys.modules


def test_coming_after_mmcv_gave_up_on_its_operators_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, ops.EXTENSION)
    monkeypatch.setattr(ops, "compiled_mmcv", lambda: False)
    monkeypatch.setitem(sys.modules, "mmcv.cnn", ModuleType("mmcv.cnn"))
    with pytest.raises(RequestError, match=r"mmcv\.cnn.* imported without operators"):
        ops.provide()


@pytest.mark.slow
def test_models_are_built_without_a_word() -> None:
    code = """
from benchmark.backbones.sources import open_backbone
from tasks.openmmlab.model import build_model
from tests.tasks.openmmlab.models import mask_rcnn, upernet
backbone = open_backbone("random:resnet18")
build_model(upernet(backbone, size=64), "mmseg")
build_model(mask_rcnn(backbone, size=64), "mmdet")
print("fine")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")
