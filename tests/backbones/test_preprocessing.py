import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform
from torchvision import transforms as T

from benchmark.backbones.preprocessing import Preprocessing
from benchmark.errors import BackboneError

PIL_FILTERS = {
    "bicubic": T.InterpolationMode.BICUBIC,
    "bilinear": T.InterpolationMode.BILINEAR,
    "nearest": T.InterpolationMode.NEAREST,
}


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise of several scales, JPEG-compressed: edges and smooth parts."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize((width, height))
    noisy = np.asarray(coarse).astype(int) + rng.integers(-40, 40, (height, width, 3))
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG")
    return Image.open(buffer).convert("RGB")


@pytest.mark.parametrize("interpolation", sorted(PIL_FILTERS))
@pytest.mark.parametrize("size", [(37, 53), (301, 199), (640, 427), (20, 300), (224, 224), (256, 256), (33, 32)])
def test_geometry_is_torchvisions_resize_and_centre_crop_on_pillow(size: tuple[int, int], interpolation: str) -> None:
    image = photo(*size)
    expected = T.Compose([T.Resize(48, interpolation=PIL_FILTERS[interpolation]), T.CenterCrop(42), T.PILToTensor()])
    ours = Preprocessing(size=(42, 42), crop_pct=0.875, interpolation=interpolation).geometry(image)
    assert ours.dtype == np.uint8 and ours.flags.c_contiguous
    np.testing.assert_array_equal(ours, expected(image).numpy())


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 90), height=st.integers(1, 90), side=st.integers(2, 40), resized=st.integers(0, 12))
def test_geometry_agrees_with_torchvision_at_any_size(width: int, height: int, side: int, resized: int) -> None:
    image = photo(width, height)
    expected = T.Compose([T.Resize(side + resized, T.InterpolationMode.BICUBIC), T.CenterCrop(side), T.PILToTensor()])
    ours = Preprocessing(size=(side, side), crop_pct=side / (side + resized))
    np.testing.assert_array_equal(ours.geometry(image), expected(image).numpy())


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("input_size", [(3, 64, 64), (3, 64, 48)])
@pytest.mark.parametrize("size", [(301, 199), (70, 150), (131, 131)])
def test_geometry_and_statistics_are_those_of_timms_evaluation(
    size: tuple[int, int], input_size: tuple[int, int, int], crop_mode: str
) -> None:
    image = photo(*size)
    theirs = create_transform(
        input_size,
        interpolation="bicubic",
        crop_pct=0.9,
        crop_mode=crop_mode,
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.4),
    )
    ours = Preprocessing(
        size=input_size[1:],
        crop_pct=0.9,
        mode="squash" if crop_mode == "squash" else "crop",
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.4),
    )
    batch = torch.from_numpy(ours.geometry(image))[None]
    torch.testing.assert_close(ours.normalise(batch)[0], theirs(image), rtol=1e-5, atol=1e-6)


def test_dino_crop_is_224_out_of_256_and_a_fraction_of_two_integers_is_not_rounded_away() -> None:
    assert Preprocessing().resized == (256, 256)
    for crop, resize in [(224, 232), (224, 238), (480, 480), (299, 342), (384, 384), (320, 336)]:
        assert Preprocessing(size=(crop, crop), crop_pct=crop / resize).resized == (resize, resize)


def test_uint8_and_float_pixels_give_the_same_input() -> None:
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for preprocessing in (
        Preprocessing(size=(8, 8)),
        Preprocessing(size=(8, 8), mean=(103.5, 116.3, 123.7), std=(57.4, 57.1, 58.4), value_range=255),
    ):
        torch.testing.assert_close(
            preprocessing.normalise(images), preprocessing.normalise(images.float() / 255), rtol=1e-4, atol=1e-5
        )


def test_bgr_and_value_range_are_those_of_caffe() -> None:
    """Caffe networks: subtract the mean of B, G and R in [0, 255] from channels in that order, divide by nothing."""
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    mean = (103.939, 116.779, 123.68)
    ours = Preprocessing(size=(4, 4), mean=mean, std=(1.0, 1.0, 1.0), channel_order="bgr", value_range=255)
    red, green, blue = images.float().unbind(1)
    expected = torch.stack([blue - mean[0], green - mean[1], red - mean[2]], dim=1)
    torch.testing.assert_close(ours.normalise(images), expected)


def test_tensors_of_another_size_are_resized_as_torchvision_resizes_tensors() -> None:
    images = torch.randint(0, 256, (2, 3, 61, 83), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    for antialias in (True, False):
        expected = T.Compose([T.Resize(48, T.InterpolationMode.BICUBIC, antialias=antialias), T.CenterCrop(42)])
        ours = Preprocessing(size=(42, 42), antialias=antialias)
        torch.testing.assert_close(ours.fit(images), expected(images), rtol=0, atol=0)
        as_float = ours.fit(images.float() / 255)
        assert as_float.min() >= 0 and as_float.max() <= 1
        assert (as_float * 255 - expected(images).float()).abs().max() <= 1


def test_without_antialias_a_photo_is_resized_as_a_tensor_is() -> None:
    image = photo(300, 200)
    expected = T.Compose(
        [T.PILToTensor(), T.Resize(48, T.InterpolationMode.BILINEAR, antialias=False), T.CenterCrop(42)]
    )
    ours = Preprocessing(size=(42, 42), interpolation="bilinear", antialias=False)
    np.testing.assert_array_equal(ours.geometry(image), expected(image).numpy())
    smooth = ours.override(["antialias=true"]).geometry(image)
    assert (smooth != ours.geometry(image)).mean() > 0.5


def test_overrides_are_typed_broadcast_and_named_in_the_source() -> None:
    changed = Preprocessing().override(
        ["mean=0.5", "std=0.1,0.2,0.3", "size=192x160", "interpolation=bilinear", "mode=squash", "antialias=false"]
    )
    assert changed.mean == (0.5, 0.5, 0.5) and changed.std == (0.1, 0.2, 0.3)
    assert changed.size == (192, 160) and changed.interpolation == "bilinear"
    assert changed.mode == "squash" and changed.antialias is False
    assert (
        changed.source.startswith("assumed")
        and "user: antialias, interpolation, mean, mode, size, std" in changed.source
    )
    assert Preprocessing().override([]) == Preprocessing()
    caffe = ["mean=104,117,123", "std=1", "value_range=255", "channel_order=BGR"]
    assert Preprocessing().override(caffe) == Preprocessing().override(caffe[::-1]).model_copy(
        update={"source": Preprocessing().override(caffe).source}
    )


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("maen=0.5", "did you mean mean"),
        ("mean", "key=value"),
        ("mean=abc", "a number for mean"),
        ("mean=nan", "a number for mean"),
        ("mean=0.1,0.2", "one number or three"),
        ("std=0", "std > 0"),
        ("std=-0.2", "std > 0"),
        ("mean=123.7", "value_range=255"),
        ("std=58.4", "value_range=255"),
        ("value_range=255", "leave out value_range=255"),
        ("value_range=2", "value_range=1 or value_range=255"),
        ("size=12.5", "a size in pixels"),
        ("size=0", "1 to 8192"),
        ("size=1x2x3", "a size in pixels"),
        ("crop_pct=1.2", "0 < crop_pct <= 1"),
        ("crop_pct=0", "0 < crop_pct <= 1"),
        ("interpolation=bicubik", "did you mean bicubic?"),
        ("channel_order=grb", "did you mean"),
        ("antialias=maybe", "true or false"),
    ],
)
def test_settings_that_would_give_wrong_numbers_are_refused(setting: str, says: str) -> None:
    with pytest.raises(BackboneError) as caught:
        Preprocessing().override([setting])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_setting_given_twice_is_refused() -> None:
    with pytest.raises(BackboneError, match="given twice"):
        Preprocessing().override(["mean=0.5", "mean=0.4"])


def test_key_follows_the_numbers_and_not_their_source() -> None:
    base = Preprocessing()
    assert base.key() == base.model_copy(update={"source": "elsewhere"}).key()
    settings_of_each_kind = ["size=192", "crop_pct=0.9", "interpolation=bilinear", "antialias=false", "mean=0.5"]
    settings_of_each_kind += ["std=0.5", "channel_order=bgr", "mode=squash"]
    keys = {base.override([setting]).key() for setting in settings_of_each_kind}
    assert len(keys | {base.key()}) == len(settings_of_each_kind) + 1
    assert base.override(["mean=0.5"]).geometry_key() == base.geometry_key()
    assert base.override(["size=192"]).geometry_key() != base.geometry_key()


def test_a_protocol_pins_the_crop_and_says_so() -> None:
    base = Preprocessing(crop_pct=1.0)
    pinned = base.pinned(crop_pct=0.875)
    assert pinned.crop_pct == 0.875 and "protocol: crop_pct" in pinned.source
    assert base.pinned() is base and base.pinned(crop_pct=1.0) is base


def test_photos_that_cannot_be_treated_are_refused() -> None:
    with pytest.raises(BackboneError, match="thin strip"):
        Preprocessing().geometry(Image.new("RGB", (1, 5000)))
    with pytest.raises(BackboneError, match="an RGB image"):
        Preprocessing().geometry(Image.new("L", (10, 10)))
    with pytest.raises(BackboneError, match="interpolation=lanczos"):
        Preprocessing(interpolation="lanczos").fit(torch.zeros(1, 3, 10, 10, dtype=torch.uint8))
