import pytest
import timm
import torch

from benchmark.backbones.encoder import Encoder
from benchmark.backbones.sources import open_backbone
from benchmark.errors import BackboneError
from tasks.openmmlab.dilation import dilated


@torch.no_grad()
@pytest.mark.parametrize("output_stride", [8, 16])
def test_a_dilated_network_has_the_same_weights_and_the_maps_of_timms(output_stride: int) -> None:
    backbone = open_backbone("random:resnet18")
    finer = dilated(backbone, output_stride)
    state = backbone.module.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in finer.module.state_dict().items())
    encoder = Encoder(finer).eval()
    assert [stage.stride for stage in encoder.stages] == [4, 8, *([8, 8] if output_stride == 8 else [16, 16])]
    reference = timm.create_model("resnet18", features_only=True, output_stride=output_stride, out_indices=(1, 2, 3, 4))
    reference.load_state_dict(state)
    x = torch.randn(1, 3, 64, 96)
    assert all(torch.equal(a, b) for a, b in zip(encoder(x), reference.eval()(x), strict=True))


@torch.no_grad()
def test_dilation_follows_torchvisions_and_mmsegs_convention() -> None:
    """The first dilated block keeps the dilation before it: torchvision's replace_stride_with_dilation."""
    import torchvision

    backbone = open_backbone("random:resnet50")
    reference = torchvision.models.resnet50(replace_stride_with_dilation=[False, True, True]).eval()
    reference.fc = torch.nn.Identity()
    reference.load_state_dict(backbone.module.state_dict())
    x = torch.randn(1, 3, 64, 64)
    found = Encoder(dilated(backbone, 8)).eval()(x)[-1]
    torch.testing.assert_close(found.mean((2, 3)), reference(x), rtol=1e-4, atol=1e-5)


def test_networks_that_cannot_be_dilated_are_refused() -> None:
    with pytest.raises(BackboneError, match="an architecture of timm, for dilation"):
        dilated(open_backbone("random:torchvision:resnet18"), 8)
    with pytest.raises(BackboneError, match="output_stride"):
        dilated(open_backbone("random:test_vit"), 8)
