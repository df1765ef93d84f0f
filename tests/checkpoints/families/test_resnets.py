"""Files of convolutional encoders, as each project writes them, give the features of the network they come from."""

from __future__ import annotations

import argparse
import json
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from benchmark.backbones.backbone import Backbone
from benchmark.backbones.networks import Descriptor, convnext, resnet, selective_resnet
from benchmark.backbones.preprocessing import Preprocessing
from benchmark.backbones.sources import open_backbone
from benchmark.errors import BackboneError, CheckpointError
from tests.command import CommandLine

State = dict[str, Tensor]
SIZE = 64
IMAGES = torch.randint(0, 256, (2, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
OPTIMIZER = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.03}]}
CHILDREN = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
UNPOOLED = {"conv1": "0", "bn1": "1", "layer1": "3", "layer2": "4", "layer3": "5", "layer4": "6"}


def randomised(net: nn.Module, seed: int) -> nn.Module:
    """Normalisation statistics and biases that are not the initial ones, so that a mistake shows."""
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim == 1:
            spread = torch.rand(tensor.shape, generator=draw)
            tensor.copy_(spread + 0.5 if name.endswith(("weight", "running_var")) else (spread - 0.5) * 0.4)
        elif tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=draw) * (2 / tensor[0].numel()) ** 0.5)
    return net.eval()


def body(net: nn.Module) -> State:
    """The tensors without the classifier."""
    return {name: tensor.clone() for name, tensor in net.state_dict().items() if not name.startswith(("fc.", "head."))}


def under(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def numbered(prefix: str, state: Mapping[str, Tensor], numbers: Mapping[str, str]) -> State:
    parts = {name: name.partition(".") for name in state}
    return {f"{prefix}{numbers[part[0]]}.{part[2]}": state[name] for name, part in parts.items()}


def layers(prefix: str, width: int = 512, norm: bool = True) -> State:
    """A projector of two layers, with a BatchNorm between them."""
    made = {f"{prefix}.0.weight": torch.ones(8, width), f"{prefix}.0.bias": torch.ones(8)}
    if norm:
        made |= {f"{prefix}.1.{part}": torch.ones(8) for part in ("weight", "bias", "running_mean", "running_var")}
        made |= {f"{prefix}.1.num_batches_tracked": torch.tensor(3)}
    return made | {f"{prefix}.3.weight": torch.ones(4, 8)}


def features(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Pooled features and the last map of a residual network."""
    module: Any = net
    with torch.inference_mode():
        x = module.maxpool(module.relu(module.bn1(module.conv1(x))))
        for stage in (module.layer1, module.layer2, module.layer3, module.layer4):
            x = stage(x)
    return x.mean((2, 3)), x


class Nets:
    """The networks that the files are made from: one per stem, and a decoy of the same shapes."""

    def __init__(self) -> None:
        def make(stem: str, seed: int) -> nn.Module:
            return randomised(resnet(depth=18, stem=stem), seed)

        self.imagenet, self.decoy = make("imagenet", 1), make("imagenet", 2)
        self.cifar, self.cifar_decoy = make("cifar", 3), make("cifar", 4)
        self.padded = make("cifar-pad2", 3)


@pytest.fixture(scope="module")
def nets() -> Nets:
    return Nets()


def lightning(state: State) -> dict[str, Any]:
    return {
        "epoch": 99,
        "global_step": 500,
        "pytorch-lightning_version": "2.0.9",
        "state_dict": state,
        "loops": {"fit_loop": {"epoch_progress": {"total": {"ready": 1}}}},
        "callbacks": {},
        "optimizer_states": [OPTIMIZER],
        "lr_schedulers": [],
        "hyper_parameters": {"lr": 0.3},
    }


Write = Callable[[State, State], Any]
WRITERS: dict[str, tuple[str, str, Write]] = {
    "moco v1": (
        "moco",
        "state_dict.module.encoder_q",
        lambda own, other: {
            "epoch": 200,
            "arch": "resnet50",
            "state_dict": under("module.encoder_q.", {**own, "fc.weight": torch.ones(128, 512)})
            | under("module.encoder_k.", {**other, "fc.weight": torch.ones(128, 512)})
            | {"module.queue": torch.ones(128, 9), "module.queue_ptr": torch.tensor([0])},
            "optimizer": OPTIMIZER,
        },
    ),
    "moco v2": (
        "moco",
        "state_dict.module.encoder_q",
        lambda own, other: {
            "epoch": 200,
            "state_dict": under("module.encoder_q.", own | layers("fc", norm=False))
            | under("module.encoder_k.", other | layers("fc", norm=False))
            | {"module.queue": torch.ones(128, 9), "module.queue_ptr": torch.tensor([0])},
        },
    ),
    "moco v3": (
        "moco-v3",
        "state_dict.module.base_encoder",
        lambda own, other: {
            "epoch": 300,
            "arch": "resnet50",
            "state_dict": under("module.base_encoder.", own | layers("fc"))
            | under("module.momentum_encoder.", other | layers("fc"))
            | layers("module.predictor"),
            "optimizer": OPTIMIZER,
            "scaler": {"scale": 65536.0},
        },
    ),
    "simsiam": (
        "simsiam",
        "state_dict.module.encoder",
        lambda own, other: {
            "epoch": 100,
            "arch": "resnet50",
            "state_dict": under("module.encoder.", own | layers("fc")) | layers("module.predictor"),
            "optimizer": OPTIMIZER,
        },
    ),
    "mec": (
        "simsiam",
        "state_dict.module.encoder",
        lambda own, other: {
            "state_dict": under("module.encoder.", own | layers("fc"))
            | under("module.teacher.", other | layers("fc"))
            | layers("module.predictor"),
        },
    ),
    "barlow twins": (
        "barlow-twins",
        "model.module.backbone",
        lambda own, other: {
            "epoch": 3,
            "model": under("module.backbone.", own)
            | layers("module.projector")
            | {"module.bn.running_mean": torch.ones(4), "module.bn.running_var": torch.ones(4)},
            "optimizer": {"state": {}},
        },
    ),
    "vicregl": (
        "barlow-twins",
        "model.module.backbone",
        lambda own, other: {
            "epoch": 3,
            "model": under("module.backbone.", own)
            | layers("module.projector")
            | layers("module.maps_projector")
            | {"module.classifier.weight": torch.ones(10, 512), "module.classifier.bias": torch.ones(10)},
            "optimizer": {"state": {}},
        },
    ),
    "swav, released": (
        "swav",
        "module",
        lambda own, other: (
            under("module.", own) | layers("module.projection_head") | {"module.prototypes.weight": torch.ones(30, 4)}
        ),
    ),
    "deepcluster v2, training": (
        "swav",
        "state_dict.module",
        lambda own, other: {
            "epoch": 400,
            "state_dict": under("module.", own)
            | layers("module.projection_head")
            | {f"module.prototypes.prototypes{i}.weight": torch.ones(30, 4) for i in range(3)},
            "optimizer": OPTIMIZER,
            "amp": {"loss_scaler0": {"loss_scale": 1.0}},
        },
    ),
    "pixpro": (
        "pixpro",
        "model.module.encoder",
        lambda own, other: {
            "opt": argparse.Namespace(arch="resnet50"),
            "model": under("module.encoder.", own)
            | under("module.encoder_k.", other)
            | layers("module.projector")
            | layers("module.projector_k")
            | {"module.value_transform.weight": torch.ones(4, 4, 1, 1), "module.value_transform.bias": torch.ones(4)},
            "optimizer": OPTIMIZER,
            "scheduler": {"last_epoch": 3},
            "epoch": 100,
        },
    ),
    "densecl": (
        "openselfsup",
        "state_dict.backbone",
        lambda own, other: {
            "meta": {"mmcv_version": "0.6"},
            "state_dict": under("backbone.", own)
            | under("encoder_q.0.", own)
            | layers("encoder_q.1.mlp")
            | under("encoder_k.0.", other)
            | layers("encoder_k.1.mlp")
            | {"queue": torch.ones(4, 9), "queue_ptr": torch.tensor([0]), "queue2": torch.ones(4, 9)},
            "optimizer": OPTIMIZER,
        },
    ),
    "interclr": (
        "openselfsup",
        "state_dict.backbone",
        lambda own, other: {
            "meta": {"epoch": 200},
            "state_dict": under("encoder_q.0.", own)
            | layers("encoder_q.1.mlp")
            | under("encoder_k.0.", other)
            | layers("encoder_k.1.mlp")
            | layers("inter_neck_q.mlp")
            | layers("inter_neck_k.mlp")
            | under("backbone.", own)
            | layers("neck.mlp")
            | {"memory_bank.feature_bank": torch.ones(9, 4), "queue": torch.ones(4, 9), "queue_ptr": torch.tensor([0])},
            "optimizer": OPTIMIZER,
        },
    ),
    "orl": (
        "openselfsup",
        "state_dict.backbone",
        lambda own, other: {
            "meta": {},
            "state_dict": under("online_net.0.", own)
            | layers("online_net.1.mlp")
            | under("target_net.0.", other)
            | layers("target_net.1.mlp")
            | under("backbone.", own)
            | layers("neck.mlp")
            | layers("global_head.predictor")
            | layers("local_intra_head.predictor"),
        },
    ),
    "mmselfsup": (
        "openselfsup",
        "state_dict.backbone",
        lambda own, other: {
            "meta": {"epoch": 200},
            "state_dict": under("backbone.", own)
            | layers("neck.mlp")
            | layers("head.predictor")
            | under("target_net.module.0.", other)
            | layers("target_net.module.1.mlp")
            | {"target_net.steps": torch.tensor(7)},
            "message_hub": {"log_scalars": {}},
        },
    ),
    "npid": (
        "npid",
        "state_dict.module",
        lambda own, other: {
            "epoch": 200,
            "arch": "resnet18",
            "state_dict": under("module.", {**own, "fc.weight": torch.ones(128, 512), "fc.bias": torch.ones(128)}),
            "lemniscate": argparse.Namespace(memory=torch.ones(9, 128)),
            "best_prec1": 46.5,
        },
    ),
    "pycontrast pirl": (
        "pycontrast",
        "model.module.encoder",
        lambda own, other: {
            "model": under("module.encoder.", own) | layers("module.head") | layers("module.head_jig.fc1"),
            "contrast": {"memory_1": torch.ones(9, 128)},
            "epoch": 200,
        },
    ),
    "w-mse": (
        "w-mse",
        "model.module",
        lambda own, other: under("model.module.", own) | layers("head"),
    ),
    "r2o": (
        "r2o",
        "model.module.online_network.encoder",
        lambda own, other: {
            "config": {},
            "steps": 5,
            "model": numbered("module.online_network.encoder.", own, CHILDREN)
            | numbered("module.target_network.encoder.", other, CHILDREN)
            | layers("module.online_network.projetion")
            | layers("module.predictor.predictor"),
            "amp": {},
        },
    ),
    "selfaugment": (
        "selfaugment",
        "state_dict.module.model.encoder",
        lambda own, other: {
            "state_dict": under("module.model.encoder.", own)
            | layers("module.model.moco", norm=False)
            | under("module.encoder_k.", other)
            | {"module.queue": torch.ones(4, 9)},
            "id": "a",
        },
    ),
    "aassl": (
        "aassl",
        "model",
        lambda own, other: {
            "model": own | layers("projector") | layers("action_projector") | layers("action_predictor"),
            "optimizer": OPTIMIZER,
        },
    ),
    "byol-pytorch": (
        "byol-pytorch",
        "online_encoder.net",
        lambda own, other: (
            under("net.", own)
            | under("online_encoder.net.", own)
            | layers("online_encoder.projector")
            | layers("online_predictor")
            | under("target_encoder.net.", other)
        ),
    ),
    "densecl, extracted": (
        "openselfsup-backbone",
        "state_dict",
        lambda own, other: {"state_dict": own, "author": "DenseCL"},
    ),
    "solo-learn": (
        "solo-learn",
        "state_dict.backbone",
        lambda own, other: lightning(
            under("backbone.", own)
            | under("momentum_backbone.", other)
            | layers("projector")
            | layers("momentum_projector")
            | {"classifier.weight": torch.ones(10, 512), "classifier.bias": torch.ones(10)}
            | {"queue": torch.ones(4, 9), "queue_y": torch.ones(9)}
        ),
    ),
    "lightly": (
        "lightly",
        "state_dict.backbone",
        lambda own, other: lightning(
            under("backbone.", own)
            | layers("projection_head.layers")
            | {"online_classifier.linear.weight": torch.ones(10, 512), "online_classifier.linear.bias": torch.ones(10)}
        ),
    ),
    "lightly, example": (
        "lightly-example",
        "state_dict.backbone",
        lambda own, other: lightning(
            numbered("backbone.", own, CHILDREN)
            | numbered("backbone_momentum.", other, CHILDREN)
            | layers("projection_head.layers")
            | layers("prediction_head.layers")
        ),
    ),
    "vissl": (
        "vissl",
        "classy_state_dict.base_model.model.trunk._feature_blocks",
        lambda own, other: {
            "phase_idx": 99,
            "iteration": 5,
            "loss": 0.1,
            "type": "checkpoint",
            "classy_state_dict": {
                "base_model": {"meta": {}, "model": {"trunk": under("_feature_blocks.", own)}},
                "optimizer": {"optim": OPTIMIZER},
                "loss": {"name": "moco_loss", "queue": torch.ones(4, 9)},
            },
        },
    ),
}  # fmt: skip

CIFAR: dict[str, tuple[str, str, str, Write]] = {
    "solo-learn": (
        "padded",
        "solo-learn-cifar",
        "state_dict.backbone",
        lambda own, other: lightning(
            under("backbone.", own) | layers("projector") | {"classifier.weight": torch.ones(10, 512)}
        ),
    ),
    "trajssl": (
        "cifar",
        "trajssl",
        "state_dict.backbone",
        lambda own, other: lightning(
            under("backbone.", own)
            | layers("projector")
            | {"classifier.weight": torch.ones(10, 512), "rot_classifier.weight": torch.ones(4, 512)}
        ),
    ),
    "w-mse": (
        "cifar",
        "w-mse-cifar",
        "model.module",
        lambda own, other: under("model.module.", own) | layers("head"),
    ),
    "kernel-infonce": (
        "cifar",
        "kernel-infonce",
        "state_dict.encoder",
        lambda own, other: lightning(under("encoder.", own) | layers("projection.model")),
    ),
    "selfaugment": (
        "cifar",
        "selfaugment-cifar",
        "state_dict.module.model.encoder",
        lambda own, other: {"state_dict": under("module.model.encoder.", own) | layers("module.model.moco")},
    ),
    "care": (
        "cifar",
        "care",
        "state_dict.module.f",
        lambda own, other: {
            "epoch": 400,
            "state_dict": numbered("module.f.", own, UNPOOLED)
            | layers("module.g"),
            "args": argparse.Namespace(model="resnet18"),
            "best_acc_1": 90.0,
            "optimizer": OPTIMIZER,
        },
    ),
}  # fmt: skip


def opened(path: Path, content: Any, *settings: str, **options: Any) -> Backbone:
    torch.save(content, path)
    return open_backbone(str(path), preprocess=(f"size={SIZE}", *settings), **options)


def worst(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", WRITERS)
def test_features_are_those_of_the_encoder_its_authors_evaluate(name: str, nets: Nets, tmp_path: Path) -> None:
    layout, key, write = WRITERS[name]
    backbone = opened(tmp_path / "c.pth", write(body(nets.imagenet), body(nets.decoy)))
    assert (backbone.origin.layout, backbone.origin.key or "") == (layout, key)
    pooled, last = features(nets.imagenet, backbone.preprocessing.normalise(IMAGES))
    found = backbone.encode(IMAGES)
    assert worst(found.global_("gap"), pooled) < 1e-5
    assert worst(found.grid(), last) < 1e-5
    assert backbone.head is None  # projectors are no classifiers


@pytest.mark.parametrize("name", CIFAR)
def test_small_images_have_their_stem_and_statistics(name: str, nets: Nets, tmp_path: Path) -> None:
    which, layout, key, write = CIFAR[name]
    net = getattr(nets, which)
    backbone = opened(tmp_path / "c.ckpt", write(body(net), body(nets.cifar_decoy)))
    assert (backbone.origin.layout, backbone.origin.key) == (layout, key)
    assert backbone.preprocessing.mean == (0.4914, 0.4822, 0.4465)
    pooled, last = features(net, backbone.preprocessing.normalise(IMAGES))
    found = backbone.encode(IMAGES)
    assert worst(found.global_("gap"), pooled) < 1e-5
    assert found.grid().shape == last.shape


def test_one_pixel_of_padding_is_another_network_than_two(nets: Nets, tmp_path: Path) -> None:
    backbone = opened(tmp_path / "c.ckpt", CIFAR["solo-learn"][3](body(nets.padded), {}))
    pooled, _ = features(nets.cifar, backbone.preprocessing.normalise(IMAGES))  # the same tensors, the usual padding
    assert worst(backbone.encode(IMAGES).global_("gap"), pooled) > 1e-3


def test_every_file_names_one_layout_only(nets: Nets, tmp_path: Path) -> None:
    """No file of one project is taken for another's when a block is missing: the load stops instead."""
    for name in ("moco v2", "swav, released", "vissl", "lightly, example"):
        _, _, write = WRITERS[name]
        broken = {key: value for key, value in body(nets.imagenet).items() if not key.startswith("layer3")}
        with pytest.raises(CheckpointError):
            opened(tmp_path / "c.pth", write(broken, body(nets.decoy)))


def test_wide_networks_widen_their_stem_too(tmp_path: Path) -> None:
    net = randomised(resnet(depth=18, widen=2), 5)
    content = (
        under("module.", body(net)) | layers("module.projection_head") | {"module.prototypes.weight": torch.ones(3, 4)}
    )
    backbone = opened(tmp_path / "w2.pth.tar", content)
    assert "widen=2" in backbone.arch
    assert backbone.preprocessing.std == (0.228, 0.224, 0.225)  # as its authors evaluate it
    pooled, _ = features(net, backbone.preprocessing.normalise(IMAGES))
    assert worst(backbone.encode(IMAGES).global_("gap"), pooled) < 1e-5


def vicregl_names(state: State) -> State:
    """Tensors of timm's ConvNeXt under the names of its authors."""
    made = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "stem":
            parts = ["downsample_layers", "0", *parts[1:]]
        elif parts[2:3] == ["downsample"]:
            parts = ["downsample_layers", parts[1], *parts[3:]]
        elif parts[0] == "stages":
            inner = ".".join(parts[4:]).replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
            parts = ["stages", parts[1], parts[3], inner]
        made[".".join(parts).replace("norm_pre", "norm")] = tensor
    return made


@pytest.mark.parametrize("released", [True, False])
def test_vicregl_averages_normed_tokens(released: bool, tmp_path: Path) -> None:
    net: Any = randomised(convnext((1, 1, 2, 1), (8, 16, 24, 32), head_norm_first=True), 6)
    state = vicregl_names(body(net))
    content: Any = state if released else {
        "epoch": 1,
        "model": under("module.backbone.", state) | layers("module.projector", 32) | layers("module.maps_projector", 32)
        | {"module.classifier.weight": torch.ones(10, 32), "module.classifier.bias": torch.ones(10)},
        "optimizer": {"state": {}},
    }  # fmt: skip
    backbone = opened(tmp_path / "convnext.pth", content)
    assert backbone.origin.layout == "vicregl-convnext"
    with torch.inference_mode():
        tokens = net.forward_features(backbone.preprocessing.normalise(IMAGES))
    assert worst(backbone.encode(IMAGES).global_("gap"), tokens.mean((2, 3))) < 1e-5
    classifying: Any = randomised(convnext((1, 1, 2, 1), (8, 16, 24, 32)), 6)
    assert "head.norm.weight" in classifying.state_dict()  # the other order of norm and average


def test_vissl_names_of_regnets(tmp_path: Path) -> None:
    import timm

    net: Any = randomised(timm.create_model("regnety_002"), 7)
    inner = {"conv1.conv": "f.a.0", "conv1.bn": "f.a.1", "conv2.conv": "f.b.0", "conv2.bn": "f.b.1",
             "conv3.conv": "f.c", "conv3.bn": "f.final_bn", "se.fc1": "f.se.excitation.0",
             "se.fc2": "f.se.excitation.2", "downsample.conv": "proj", "downsample.bn": "bn"}  # fmt: skip
    trunk = {}
    for name, tensor in body(net).items():
        stage, _, rest = name.partition(".")
        if stage == "stem":
            trunk[f"_feature_blocks.conv1.stem.{name.replace('stem.conv', '0').replace('stem.bn', '1')}"] = tensor
            continue
        block, _, rest = rest.partition(".")
        module, _, leaf = rest.rpartition(".")
        number = int(stage[1:])
        trunk[f"_feature_blocks.res{number + 1}.block{number}-{int(block[1:]) - 1}.{inner[module]}.{leaf}"] = tensor
    model = {"trunk": trunk, "heads": layers("0.clf")}
    backbone = opened(tmp_path / "seer.torch", {"classy_state_dict": {"base_model": {"model": model, "meta": {}}}})
    assert (backbone.origin.layout, backbone.arch) == ("vissl-regnet", "regnety_002")
    with torch.inference_mode():
        last = net.forward_features(backbone.preprocessing.normalise(IMAGES))
    assert worst(backbone.encode(IMAGES).global_("gap"), last.mean((2, 3))) < 1e-5


class ExperimentState(NamedTuple):
    """What DeepMind's trainer pickles: its fields have no names in the file."""

    online_params: dict[str, Any]
    target_params: dict[str, Any]
    online_state: dict[str, Any]
    target_state: dict[str, Any]
    opt_state: Any


def haiku(state: State) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and states in Haiku's two-level dictionaries: numpy, HWIO, statistics of shape (1, 1, 1, C)."""
    params: dict[str, Any] = {"projector/linear": {"w": torch.ones(512, 4).numpy()}}
    states: dict[str, Any] = {}
    for name, tensor in state.items():
        module, _, leaf = name.rpartition(".")
        place = re.sub(r"layer(\d)\.(\d)\.", lambda m: f"block_group_{int(m[1]) - 1}/~/block_{m[2]}/~/", f"{module}")
        place = place.replace("downsample.0", "shortcut_conv").replace("downsample.1", "shortcut_batchnorm")
        if place in ("conv1", "bn1"):
            place = {"conv1": "initial_conv", "bn1": "initial_batchnorm"}[place]
        else:
            place = re.sub(r"conv(\d)$", lambda m: f"conv_{int(m[1]) - 1}", place)
            place = re.sub(r"bn(\d)$", lambda m: f"batchnorm_{int(m[1]) - 1}", place)
        place = f"res_net18/~/{place}"
        if tensor.ndim == 4:
            params[place] = {"w": tensor.permute(2, 3, 1, 0).contiguous().numpy()}
        elif leaf in ("weight", "bias"):
            params.setdefault(place, {})["scale" if leaf == "weight" else "offset"] = tensor.view(1, 1, 1, -1).numpy()
        elif leaf.startswith("running"):
            average = tensor.view(1, 1, 1, -1).numpy()
            place = f"{place}/~/{leaf.removeprefix('running_')}_ema"
            states[place] = {"average": average, "hidden": average * 0.1, "counter": torch.tensor(7).numpy()}
    return params, states


def test_byol_is_read_from_a_haiku_pickle_with_the_padding_of_jax(nets: Nets, tmp_path: Path) -> None:
    net = randomised(resnet(depth=18, same_padding=True), 8)
    params, states = haiku(body(net))
    target, target_states = haiku(body(nets.decoy))
    content = {
        "experiment_state": ExperimentState(params, target, states, target_states, ({"mu": params},)),
        "step": 300_000,
        "rng": torch.zeros(2).numpy(),
    }
    path = tmp_path / "pretrain_res18x1.pkl"
    path.write_bytes(pickle.dumps(content, protocol=2))
    backbone = open_backbone(str(path), preprocess=(f"size={SIZE}",))
    assert backbone.origin.layout == "byol"
    x = backbone.preprocessing.normalise(IMAGES)
    pooled, last = features(net, x)
    found = backbone.encode(IMAGES)
    assert worst(found.global_("gap"), pooled) < 1e-5
    assert worst(found.grid(), last) < 1e-5
    usual = resnet(depth=18).eval()
    usual.load_state_dict(net.state_dict())  # torchvision's padding: the same shapes, other features
    assert worst(features(usual, x)[0], pooled) > 1e-3


def simclr_names(name: str) -> str:
    """A name of our network with selective kernels in the conversion from TensorFlow."""
    stem = {
        "conv1.0": "0.0",
        "conv1.1": "0.1.0",
        "conv1.3": "0.2",
        "conv1.4": "0.3.0",
        "conv1.6": "0.4",
        "bn1": "0.5.0",
    }
    block = {
        "conv1": "net.0", "bn1": "net.1.0", "conv2.main.0": "net.2.main_conv.0", "conv2.main.1": "net.2.main_conv.1.0",
        "conv2.mix.0": "net.2.mixing_conv.0", "conv2.mix.1": "net.2.mixing_conv.1.0",
        "conv2.mix.3": "net.2.mixing_conv.2", "conv3": "net.3", "bn3": "net.4.0",
        "downsample.1": "projection.shortcut.2", "downsample.2": "projection.bn.0",
    }  # fmt: skip
    module, _, leaf = name.rpartition(".")
    if not module.startswith("layer"):
        return f"net.{stem[module]}.{leaf}"
    layer, number, inner = module.split(".", 2)
    return f"net.{layer.removeprefix('layer')}.blocks.{number}.{block[inner]}.{leaf}"


def test_simclr_v2_with_selective_kernels_takes_plain_pixels(tmp_path: Path) -> None:
    net = randomised(selective_resnet(blocks=(1, 1, 1, 1)), 9)
    state = {simclr_names(name): tensor for name, tensor in body(net).items()}
    content = {"resnet": state | {"fc.weight": torch.ones(1000, 2048)}, "head": layers("layers")}
    backbone = opened(tmp_path / "r50_1x_sk1.pth", content)
    assert backbone.origin.layout == "simclr-v2-sk"
    assert (backbone.preprocessing.mean, backbone.preprocessing.std) == ((0, 0, 0), (1, 1, 1))
    pooled, _ = features(net, IMAGES / 255)
    assert worst(backbone.encode(IMAGES).global_("gap"), pooled) < 1e-5


def test_sscd_gives_normalised_descriptors(tmp_path: Path) -> None:
    net = randomised(Descriptor((3, 4, 6, 3), 512), 10)
    state = {f"backbone.{name.replace('embedding', 'fc')}": tensor for name, tensor in net.state_dict().items()}
    backbone = opened(tmp_path / "sscd.torchvision.pt", state)
    assert backbone.origin.layout == "sscd"
    found = backbone.encode(IMAGES).global_("gap")
    _, last = features(net, backbone.preprocessing.normalise(IMAGES))
    mean = last.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3)
    expected = nn.functional.normalize(mean @ state["backbone.fc.weight"].T + state["backbone.fc.bias"])
    assert worst(found, expected) < 1e-5


def seen_by(net: Any, preprocessing: Preprocessing) -> State:
    """The network's tensors after its first BatchNorm has seen smooth images under that preprocessing."""
    draw = torch.Generator().manual_seed(2)
    coarse = torch.rand(32, 3, 12, 12, generator=draw) * 0.6 + torch.rand(32, 1, 1, 1, generator=draw) * 0.4
    images = (nn.functional.interpolate(coarse, size=96, mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)
    with torch.no_grad():
        out = net.conv1(preprocessing.normalise(images))
        net.bn1.running_mean.copy_(out.mean((0, 2, 3)))
        net.bn1.running_var.copy_(out.var((0, 2, 3)))
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


PIXELS = Preprocessing().override(("mean=0", "std=1"))


@pytest.fixture(scope="module")
def simclr() -> tuple[nn.Module, State]:
    """A ResNet-50 that has seen pixels in [0, 1]."""
    net = randomised(resnet(depth=50), 11)
    return net, seen_by(net, PIXELS)


def converted(state: State) -> State:
    """In the order of the conversion from TensorFlow: a block's shortcut comes first."""
    blocks = {name: ".".join(name.split(".")[:2]) if name.startswith("layer") else name.split(".")[0] for name in state}
    places = {block: place for place, block in enumerate(dict.fromkeys(blocks.values()))}
    order = sorted(state, key=lambda name: (places[blocks[name]], "downsample" not in name))  # stable
    return {name: state[name] for name in order}


@pytest.mark.parametrize("wrapped", [True, False])
def test_simclr_is_told_by_the_order_of_its_conversion(
    wrapped: bool, simclr: tuple[nn.Module, State], tmp_path: Path
) -> None:
    net, state = simclr
    content = {"state_dict": converted(state)} if wrapped else converted(state)
    backbone = opened(tmp_path / "resnet50-1x.pth", content)
    assert (backbone.origin.layout, backbone.arch) == ("simclr-v1", "resnet50")
    assert (backbone.preprocessing.mean, backbone.preprocessing.std) == ((0, 0, 0), (1, 1, 1))
    assert backbone.head is None  # the conversion loses its bias
    pooled, _ = features(net, IMAGES / 255)
    assert worst(backbone.encode(IMAGES).global_("gap"), pooled) < 1e-5


@pytest.mark.parametrize("headless", [True, False])
def test_simclr_in_the_usual_order_never_gets_the_statistics_of_imagenet(
    headless: bool, simclr: tuple[nn.Module, State], tmp_path: Path
) -> None:
    state = body(simclr[0]) if headless else simclr[1]
    path = tmp_path / "simclr-v1.pth"
    with pytest.raises(BackboneError, match=r"--layout .*simclr-v1.* --preprocess mean=0 std=1") as caught:
        opened(path, state)
    assert "first BatchNorm saw a mean of" in str(caught.value)
    with pytest.raises(BackboneError, match="first BatchNorm"):
        opened(path, state, layout="generic")
    told = opened(path, state, layout="simclr-v1")
    given = opened(path, state, "mean=0", "std=1")
    assert told.preprocessing.mean == given.preprocessing.mean == (0, 0, 0)
    assert not any("BatchNorm" in notice for notice in (*told.origin.notices, *given.origin.notices))
    insisting = opened(path, state, "mean=0.485,0.456,0.406", "std=0.229,0.224,0.225")
    assert any("mean=0 std=1 would be" in notice for notice in insisting.origin.notices)


def test_a_layout_that_the_pixels_contradict_is_refused(simclr: tuple[nn.Module, State], tmp_path: Path) -> None:
    _, _, write = WRITERS["moco v1"]
    with pytest.raises(BackboneError, match=r"layout moco: .*--preprocess mean=0 std=1"):
        opened(tmp_path / "c.pth", write(body(simclr[0]), body(simclr[0])))


def test_a_plain_file_says_that_its_statistics_are_assumed_and_whose_it_may_be(tmp_path: Path) -> None:
    net = randomised(resnet(depth=50), 12)
    seen_by(net, Preprocessing())
    backbone = opened(tmp_path / "resnet50.pth", body(net))
    (notice,) = (notice for notice in backbone.origin.notices if "assumed" in notice)
    assert "barlow-twins-backbone" in notice and "simclr-v1" in notice and "inspect --audit" in notice
    assert backbone.preprocessing.source.startswith("assumed")
    named = opened(tmp_path / "resnet50.pth", body(net), layout="barlow-twins-backbone")
    assert not any("assumed" in notice for notice in named.origin.notices)
    with pytest.raises(BackboneError, match=r"layout simclr-v1: .*--preprocess mean=0\.485"):
        opened(tmp_path / "resnet50.pth", body(net), layout="simclr-v1")


def test_assumed_statistics_are_in_the_plan_and_in_the_results(cli: CommandLine, tmp_path: Path) -> None:
    net = randomised(resnet(depth=18), 13)
    torch.save(body(net), tmp_path / "plain.pth")
    scenes = "scenes=scenes:?train=40&test=20&classes=2&size=32&difficulty=0.2"
    run = (
        "run",
        "--checkpoint",
        tmp_path / "plain.pth",
        "--preprocess",
        "size=32",
        "--suite",
        "quick",
        "--data",
        scenes,
    )
    outcome = cli(*run, "--out", tmp_path / "out", "--task", "nmc")
    assert outcome.code == 0, outcome.err
    assert "assumed to be ImageNet's" in " ".join((outcome.out + outcome.err).split())
    (result,) = (tmp_path / "out" / "results").glob("*/*/*.json")
    assert any("assumed to be ImageNet's" in notice for notice in json.loads(result.read_text())["model"]["notices"])
