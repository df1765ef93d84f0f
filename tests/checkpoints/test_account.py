"""Every tensor is matched, or dropped for a stated reason, or nothing is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from benchmark.checkpoints.account import Account, account
from benchmark.checkpoints.archive import open_archive
from benchmark.checkpoints.encoder import Encoder, find_encoder
from benchmark.errors import CheckpointError


class Net(nn.Module):
    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.bn1 = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, classes) if classes else nn.Identity()


def encoder(state: dict[str, Tensor], unlabelled: bool = False, strays: tuple[str, ...] = ()) -> Encoder:
    return Encoder(state, "", "", "", "generic", trained_without_labels=unlabelled, strays=strays)


def without(state: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key not in names}


def test_an_equal_network_matches_completely_and_loads_strictly() -> None:
    source, target = Net(10), Net(10)
    made = account(encoder(source.state_dict()), target.state_dict(), {"fc"})
    target.load_state_dict(made.tensors, strict=True)
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )
    assert made.dropped == ()
    assert made.unfilled == ()
    assert len(made.matched) == len(source.state_dict())


@pytest.mark.parametrize("arch_classes", [0, 5])
def test_a_classifier_of_other_classes_is_kept_aside_and_never_forced(arch_classes: int) -> None:
    source, target = Net(10), Net(arch_classes)
    made = account(encoder(source.state_dict()), target.state_dict(), {"fc"})
    assert made.head is not None
    assert torch.equal(made.head.weight, source.fc.weight)
    assert made.head.bias is not None
    assert torch.equal(made.head.bias, source.fc.bias)
    assert made.by_reason() == {"classifier head": ["fc.weight", "fc.bias"]}
    assert made.unfilled == (("fc.bias", "fc.weight") if arch_classes else ())
    bare = Net()
    bare.load_state_dict(made.tensors, strict=True)


def test_a_classifier_is_known_by_its_name_in_the_file_too() -> None:
    """The caller's architecture calls its classifier otherwise."""
    made = account(encoder(Net(10).state_dict()), Net().state_dict(), {"head.fc"})
    assert made.head is not None
    assert made.head.name == "fc"


def test_a_convolution_of_size_one_is_a_classifier_and_gives_a_matrix() -> None:
    state = {**Net().state_dict(), "classifier.weight": torch.randn(10, 4, 1, 1), "classifier.bias": torch.zeros(10)}
    head = account(encoder(state), Net().state_dict()).head
    assert head is not None
    assert torch.equal(head.weight, state["classifier.weight"][:, :, 0, 0])


def test_heads_of_several_layers_and_of_methods_without_labels_are_no_classifiers() -> None:
    several = {**Net().state_dict(), "fc.0.weight": torch.ones(4, 4), "fc.2.weight": torch.ones(2, 4)}
    assert account(encoder(several), Net().state_dict(), {"fc"}).head is None
    projected = account(encoder(Net(10).state_dict(), unlabelled=True), Net().state_dict(), {"fc"})
    assert projected.head is None
    assert list(projected.by_reason()) == ["projection head of a method without labels"]


def test_missing_step_counters_of_old_files_are_supplied_and_said() -> None:
    old = without(Net().state_dict(), "bn1.num_batches_tracked")
    made = account(encoder(old), Net().state_dict())
    assert [supplied.key for supplied in made.supplied] == ["bn1.num_batches_tracked"]
    Net().load_state_dict(made.tensors, strict=True)


def test_step_counters_that_the_architecture_lacks_are_dropped_with_a_reason() -> None:
    made = account(encoder(Net().state_dict()), without(Net().state_dict(), "bn1.num_batches_tracked"))
    assert [(drop.key, drop.kind) for drop in made.dropped] == [("bn1.num_batches_tracked", "counter")]


def test_parts_of_the_training_method_are_dropped_each_with_its_reason() -> None:
    extra = [
        "projector.0.weight",
        "predictor.weight",
        "decoder_blocks.0.weight",
        "mask_token",
        "queue",
        "aux1.fc.weight",
    ]
    made = account(encoder({**Net().state_dict(), **{name: torch.ones(2, 2) for name in extra}}), Net().state_dict())
    assert sorted(drop.key for drop in made.dropped) == sorted(extra)
    assert {drop.kind for drop in made.dropped} == {"projector", "predictor", "decoder", "queue", "head"}
    assert made.head is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "conv1.bias"), r"1 that the file lacks \(conv1.bias\)"),
        (lambda s: {**s, "register_tokens": torch.ones(4)}, r"1 that the architecture lacks \(register_tokens\)"),
        (lambda s: {**s, "conv1.weight": torch.ones(8, 3, 3, 3)}, r"conv1.weight \(8, 3, 3, 3\) for \(4, 3, 3, 3\)"),
        (lambda s: {**s, "conv1.weight": torch.ones(4, 3, 9)}, r"of another shape"),
    ],
)
def test_whatever_has_no_match_and_no_reason_stops_the_load(change: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        account(encoder(change(Net().state_dict())), Net().state_dict())
    assert "--arch" in str(caught.value)
    assert "python:module:factory" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_the_first_few_names_are_shown() -> None:
    extra = {f"odd{i}.weight": torch.ones(1) for i in range(50)}
    with pytest.raises(CheckpointError, match=r"50 that ResX lacks \(odd0.weight, odd1.weight, odd2.weight, \.\.\.\)"):
        account(encoder({**Net().state_dict(), **extra}), Net().state_dict(), arch="ResX")


def test_strays_beside_the_encoder_stop_the_load_and_say_how_to_go_on() -> None:
    found = Encoder(Net().state_dict(), "module.a", "", "module.a.", "generic", strays=("module.b.weight",))
    with pytest.raises(CheckpointError, match=r"module.b.weight.*--key module.a takes that encoder"):
        account(found, Net().state_dict())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["conv1.weight", "bn1.running_var", "fc.weight"])
def test_weights_that_are_not_finite_are_refused_by_name(bad: float, dtype: torch.dtype, name: str) -> None:
    state = {
        key: value.clone().to(dtype) if value.is_floating_point() else value
        for key, value in Net(10).state_dict().items()
    }
    state[name].view(-1)[1] = bad
    with pytest.raises(CheckpointError, match=rf"1 of \d+ values of {name}"):
        account(encoder(state), Net().state_dict(), {"fc"})


def test_nan_in_what_is_dropped_does_not_matter() -> None:
    account(encoder({**Net().state_dict(), "projector.weight": torch.full((2, 2), float("nan"))}), Net().state_dict())


def test_integers_where_the_architecture_has_real_numbers_are_refused() -> None:
    state = {**Net().state_dict(), "conv1.weight": torch.ones(4, 3, 3, 3, dtype=torch.int8)}
    with pytest.raises(CheckpointError, match=r"conv1\.weight as torch\.int8"):
        account(encoder(state), Net().state_dict())


def test_shapes_alone_are_enough_to_compare_with() -> None:
    shapes = {key: tuple(value.shape) for key, value in Net().state_dict().items()}
    assert len(account(encoder(Net().state_dict()), shapes).matched) == len(shapes)


def test_the_account_adds_up_and_goes_through_json() -> None:
    state = {**Net(10).state_dict(), "projector.weight": torch.ones(2, 2)}
    made = account(encoder(state), Net().state_dict(), {"fc"})
    content = json.loads(json.dumps(made.as_json()))
    assert content["matched"] + sum(len(names) for names in content["dropped"].values()) == len(state)
    assert content["head"] == {"name": "fc", "classes": 10, "features": 4, "bias": True}
    rows = made.summary()
    assert ("matched", f"{len(made.matched)} tensors") in rows
    assert ("classifier", "fc: 10 classes on 4 features, kept aside") in rows


def _account(path: Path, model: nn.Module, heads: set[str], **choice: str) -> Account:
    expected = model.state_dict()
    return account(find_encoder(open_archive(path), expected=expected, **choice), expected, heads)


@pytest.mark.data
def test_the_real_mobilenet_v2_matches_its_timm_architecture(data_dir: Path) -> None:
    path = data_dir / "checkpoints" / "mobilenetv2_100.coral_qat_in1k.pth"
    model = timm.create_model("mobilenetv2_100", pad_type="same", num_classes=0)
    made = _account(path, model, {"classifier"})
    model.load_state_dict(made.tensors, strict=True)
    assert made.head is not None
    assert made.head.weight.shape == (1000, 1280)
    assert made.by_reason() == {"classifier head": ["classifier.weight", "classifier.bias"]}
    with pytest.raises(CheckpointError, match="nearest: mobilenetv2_100 "):
        _account(path, timm.create_model("resnet18", num_classes=0), {"fc"})


class Published(nn.Module):
    """MobileNet v1 x0.25 under the names of its authors' file."""

    def __init__(self) -> None:
        super().__init__()

        def block(inp: int, out: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(inp, inp, 3, stride, 1, groups=inp, bias=False), nn.BatchNorm2d(inp), nn.LeakyReLU(0.1),
                nn.Conv2d(inp, out, 1, bias=False), nn.BatchNorm2d(out), nn.LeakyReLU(0.1),
            )  # fmt: skip

        stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(0.1))
        widths = [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
        self.stage1 = nn.Sequential(stem, *(block(*width) for width in widths))
        self.stage2 = nn.Sequential(block(64, 128, 2), *(block(128, 128, 1) for _ in range(5)))
        self.stage3 = nn.Sequential(block(128, 256, 2), block(256, 256, 1))


@pytest.mark.data
def test_the_published_mobilenet_v1_is_refused_for_timm_and_loads_from_a_factory(data_dir: Path) -> None:
    path = data_dir / "checkpoints" / "mobilenetV1X0.25_pretrain.tar"
    for name in ("resnet18", "mobilenetv1_100"):  # the first is what the file itself says
        with pytest.raises(CheckpointError, match=r"stage1\.0\.0\.weight.*--arch python:module:factory"):
            _account(path, timm.create_model(name, num_classes=0), {"fc", "classifier"})
    model = Published()
    made = _account(path, model, {"fc"})
    model.load_state_dict(made.tensors, strict=True)
    assert made.head is not None
    assert made.head.weight.shape == (1000, 256)
