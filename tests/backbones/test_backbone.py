import pytest
import torch
from torch import Tensor, nn

from benchmark.backbones.backbone import Origin, hash_weights
from benchmark.backbones.execution import plan_execution
from benchmark.backbones.features import Features, Raw, layer_indices
from benchmark.backbones.preprocessing import Preprocessing
from benchmark.errors import BackboneError
from tests.backbones.building import PLAIN, Echo, backbone_of, echo, pixels


def test_encode_cannot_be_overridden() -> None:
    with pytest.raises(TypeError, match="overrides encode, which are sealed"):
        type("Sneaky", (Echo,), {"encode": lambda self, images: images})


def test_encode_normalises_whatever_the_subclass_does() -> None:
    preprocessing = PLAIN.override(["mean=0.1,0.2,0.3", "std=0.4,0.5,0.6"])
    images = pixels(2, 32)
    mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
    expected = (images / 255 - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(echo(preprocessing).encode(images).grid(), expected)


def test_uint8_and_float_images_give_the_same_features() -> None:
    backbone, images = echo(Preprocessing(size=(32, 32))), pixels(3, 32)
    torch.testing.assert_close(
        backbone.encode(images).grid(), backbone.encode(images / 255).grid(), atol=1e-5, rtol=1e-5
    )


def test_images_of_another_size_are_resized_and_cropped() -> None:
    preprocessing = PLAIN.override(["crop_pct=0.8"])
    images = pixels(2, 80)
    assert torch.equal(echo(preprocessing).encode(images).grid() * 255, preprocessing.fit(images).float())


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.zeros(2, 32, 32, 3, dtype=torch.uint8), "shape (B, 3, h, w)"),
        (torch.zeros(3, 32, 32, dtype=torch.uint8), "shape (B, 3, h, w)"),
        (torch.zeros(0, 3, 32, 32, dtype=torch.uint8), "shape (B, 3, h, w)"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.int64), "torch.int64"),
        (torch.full((2, 3, 32, 32), 255.0), "do not normalise them"),
        (torch.full((2, 3, 32, 32), -0.5), "do not normalise them"),
        (torch.full((2, 3, 32, 32), float("nan")), "in [0, 1]"),
    ],
)
def test_images_that_would_be_misread_are_refused(images: Tensor, says: str) -> None:
    with pytest.raises(BackboneError) as caught:
        echo().encode(images)
    assert says in str(caught.value)


class Broken(Echo):
    """Gives infinities for black pixels."""

    def _features(self, x: Tensor, names: frozenset[str], layers: tuple[int, ...]) -> Raw:
        return Raw({"gap": 1 / x.flatten(1)}, dict.fromkeys(layers, x))


def test_features_that_are_not_finite_stop_and_name_the_representation() -> None:
    with pytest.raises(BackboneError, match="NaN or infinity in gap of echo"):
        echo(kind=Broken).encode(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))


def test_unknown_representations_and_layers_are_refused_with_what_there_is() -> None:
    backbone, images = echo(), pixels(2, 32)
    with pytest.raises(BackboneError, match=r"representation of echo \(gap, patch\).*'cls'"):
        backbone.encode(images, ["cls"])
    with pytest.raises(BackboneError, match="a backbone that has 1"):
        backbone.encode(images, layers=2)
    features = backbone.encode(images, ["gap"], layers=0)
    with pytest.raises(BackboneError, match="pass layers= to encode"):
        features.grid()
    with pytest.raises(BackboneError, match="call grid"):
        features.global_("patch")
    with pytest.raises(BackboneError, match="that was computed; found 'avg'"):
        features.global_("avg")
    assert backbone.encode(images, ["patch"], layers=0).grid().shape == (2, 3, 32, 32)


def test_layers_count_from_the_end_or_are_named() -> None:
    assert layer_indices(3, 12) == (9, 10, 11)
    assert layer_indices((-1, 2, 5), 12) == (2, 5, 11)
    assert layer_indices(0, 12) == ()
    for wrong in (13, -1, (12,), (-13,)):
        with pytest.raises(BackboneError, match="a backbone that has 12"):
            layer_indices(wrong, 12)


def test_layers_of_one_size_are_concatenated_over_channels_and_others_are_not() -> None:
    small, large = torch.zeros(2, 3, 4, 4), torch.ones(2, 5, 4, 4)
    features = Features({}, {0: torch.zeros(2, 1, 8, 8), 1: small, 2: large}, 3)
    assert features.grid(2).shape == (2, 8, 4, 4) and features.grid(2)[:, 3:].min() == 1
    assert [m.shape[1] for m in features.grids(3)] == [1, 3, 5]
    with pytest.raises(BackboneError, match=r"\(4, 4\), \(8, 8\)"):
        features.grid(3)


def test_a_head_can_be_trained_on_the_features() -> None:
    """Tensors of inference mode would refuse."""
    layer = nn.Linear(3 * 32 * 32, 2)
    layer(echo().encode(pixels(2, 32)).global_("gap")).sum().backward()
    assert layer.weight.grad is not None


class Net(nn.Module):
    """Convolution, BatchNorm, pool, classifier."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.bn = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.bn(self.conv(x)).relu().mean((2, 3)))


def test_weights_hash_follows_the_encoder_alone() -> None:
    torch.manual_seed(0)
    state = Net().state_dict()
    same, other_classes, changed = Net(), Net(classes=9), Net()
    for net in (same, changed):
        net.load_state_dict(state)
    encoder = {name: value for name, value in state.items() if not name.startswith("fc.")}
    other_classes.load_state_dict({**other_classes.state_dict(), **encoder})
    same.bn.num_batches_tracked += 7  # a step counter changes no feature
    with torch.no_grad():
        changed.conv.bias[3] += 1e-6
    hashes = [backbone_of(net, PLAIN).weights_hash for net in (same, other_classes, changed)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert hash_weights(same, "a") != hash_weights(same, "a?pad_type=same")
    a, b = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
    b.load_state_dict(a.state_dict())
    assert hash_weights(b.to(memory_format=torch.channels_last), "x") == hash_weights(a, "x")


def test_channels_last_gives_the_same_features() -> None:
    torch.manual_seed(0)
    net, images = Net(), pixels(4, 32)
    plain = backbone_of(net, PLAIN).encode(images).global_("gap")
    other = backbone_of(net, PLAIN, plan_execution("cpu", channels_last=True))
    assert other.module.get_parameter("conv.weight").is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(other.encode(images).global_("gap"), plain, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_compiled_gives_the_same_features() -> None:
    torch.manual_seed(0)
    net, images = Net(), pixels(4, 32)
    plain = backbone_of(net, PLAIN).encode(images).global_("gap")
    compiled = backbone_of(net, PLAIN, plan_execution("cpu", compile=True)).encode(images)
    torch.testing.assert_close(compiled.global_("gap"), plain, rtol=1e-4, atol=1e-5)


def test_precisions_and_devices_that_make_no_sense_are_refused() -> None:
    assert plan_execution("cpu").precision == "fp32"
    for arguments, says in [
        (("cpu", "bf16"), "fp32 on a CPU"),
        (("gpu",), "did you mean cpu"),
        (("cpu", "fp31"), "did you mean fp32"),
        ((f"cuda:{torch.cuda.device_count()}",), "a CUDA device"),
    ]:
        with pytest.raises(BackboneError, match=says):
            plan_execution(*arguments)


def test_encoding_leaves_the_process_as_it_was() -> None:
    before = (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.is_grad_enabled())
    echo(origin=Origin("x")).encode(pixels(1, 32))
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.is_grad_enabled()) == before
