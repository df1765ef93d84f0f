"""Where backbones come from: a SPEC of the command line in, a `Backbone` out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HFValidationError
from torch import Tensor, nn

from benchmark.backbones.architecture import Architecture, wrap
from benchmark.backbones.backbone import Backbone, Origin
from benchmark.backbones.classifier import find_classifier, take_head
from benchmark.backbones.execution import Execution, plan_execution
from benchmark.backbones.files import read_archive
from benchmark.backbones.hub import fetching, reachable
from benchmark.backbones.open_clip_names import open_clip_repository, timm_name
from benchmark.backbones.options import split_options
from benchmark.backbones.preprocessing import Preprocessing
from benchmark.backbones.timm_models import build_timm
from benchmark.backbones.timm_models import card_preprocessing as timm_card
from benchmark.backbones.torchvision_models import load_torchvision
from benchmark.checkpoints.archive import open_archive
from benchmark.checkpoints.folders import read_folder
from benchmark.errors import BackboneError, nearest


@dataclass(frozen=True)
class Opened:
    """A network with its weights, before it is wrapped.

    Attributes:
        module: the network.
        paths: its classifier's place.
        arch: what it is.
        preprocessing: its own, before the user's settings.
        origin: where the weights came from.
        head: weight and bias of the classifier, where there is one linear layer.
        representation: the feature to use where none is asked for; empty for the architecture's own.
    """

    module: nn.Module
    paths: tuple[str, ...]
    arch: Architecture
    preprocessing: Preprocessing
    origin: Origin
    head: tuple[Tensor, Tensor | None] | None
    representation: str = ""


def open_backbone(
    spec: str,
    *,
    arch: str | None = None,
    layout: str | None = None,
    key: str | None = None,
    preprocess: Sequence[str] = (),
    execution: Execution | None = None,
) -> Backbone:
    """Opens a checkpoint as a backbone.

    Args:
        spec: a path to a weights file, or to a folder of weights and their configuration, `timm:NAME`, `hf:ORG/NAME`,
            `openclip:ARCH/TAG`, `torchvision:NAME/WEIGHTS`,
            `python:MODULE:FACTORY`, or `random:ARCH` (fresh weights; `seed=` among its options).
        arch: the architecture of a weights file, where its tensors do not say it: a timm name with options,
            `torchvision:NAME`, `python:MODULE:FACTORY`.
        layout: the layout of a weights file, where it is not recognised.
        key: which encoder of a weights file, where there are several.
        preprocess: `key=value` settings that replace the checkpoint's own.
        execution: device and arithmetic; None for float32 on the CPU.

    Raises:
        BackboneError: a SPEC that names nothing, an architecture that cannot be built, settings that make no sense.
        CheckpointError: a file that cannot be opened or accounted for.
    """
    kind, name = kind_of(spec)
    if kind == "file":
        return read_archive(open_archive(Path(name)), arch, layout, key, preprocess, execution)[0]
    for option, value in (("--arch", arch), ("--layout", layout), ("--key", key)):
        if value is not None:
            raise BackboneError(f"{option} beside a weights file", f"{option} {value} beside {spec}", "leave it out")
    folder = _hub_folder(spec, kind, name)
    if folder is not None:
        backbone = read_archive(open_archive(folder), preprocess=preprocess, execution=execution)[0]
        backbone.origin = replace(backbone.origin, spec=spec, file=name)
        return backbone
    return _wrapped(_OPENERS[kind](spec, name, preprocess), preprocess, execution)


def _wrapped(opened: Opened, preprocess: Sequence[str], execution: Execution | None) -> Backbone:
    return wrap(
        opened.module,
        opened.paths,
        arch=opened.arch.canonical,
        identity=opened.arch.identity,
        preprocessing=opened.preprocessing.override(preprocess),
        execution=execution or plan_execution("cpu"),
        origin=opened.origin,
        head=opened.head,
        representation=opened.representation,
    )


def kind_of(spec: str) -> tuple[str, str]:
    """(kind, the rest) of a SPEC; `file` for a path.

    Raises:
        BackboneError: neither a file nor a kind that is known.
    """
    kind, colon, rest = spec.partition(":")
    if colon and kind in _OPENERS:
        if not rest:
            raise BackboneError(f"a name after {kind}:", repr(spec), "see `list sources` and `list models`")
        return kind, rest
    if colon and kind.isidentifier() and len(kind) > 1 and not Path(spec).exists():
        raise BackboneError(
            "a weights file or " + ", ".join(f"{known}:" for known in _OPENERS), repr(spec), nearest(kind, _OPENERS)
        )
    return "file", spec


def _from_module(module: nn.Module, arch: Architecture, preprocessing: Preprocessing, spec: str) -> Opened:
    paths = find_classifier(module)
    return Opened(module, paths, arch, preprocessing, Origin(spec), take_head(module, paths))


def _open_timm(spec: str, name: str, preprocess: Sequence[str]) -> Opened:
    arch = _for_size(Architecture("timm", *split_options(name)), preprocess)
    module = build_timm(arch.name, arch.options, pretrained=True)
    return _from_module(module, arch, timm_card(module, arch.name, arch.options, _sets_mode(preprocess)), spec)


def _open_torchvision(spec: str, name: str, _: Sequence[str]) -> Opened:
    plain, options = split_options(name)
    model, slash, weights = plain.partition("/")
    if not slash:
        raise BackboneError(
            "torchvision:NAME/WEIGHTS", repr(spec), f"write torchvision:{model}/DEFAULT, or random:{spec}"
        )
    module, preprocessing, full = load_torchvision(model, weights, options)
    return _from_module(module, Architecture("torchvision", model, options), preprocessing, f"torchvision:{full}")


def _open_hub(spec: str, name: str, preprocess: Sequence[str]) -> Opened:
    """A repository of the Hugging Face hub that holds a timm model (from the local cache when offline)."""
    config = _hub_config(spec, name)
    module = build_timm(f"hf-hub:{name}", {}, pretrained=True)
    arch = Architecture("timm", config["architecture"], config.get("model_args") or {})
    return _from_module(module, arch, timm_card(module, name, arch.options, _sets_mode(preprocess)), spec)


def _open_clip(spec: str, name: str, preprocess: Sequence[str]) -> Opened:
    """Weights of OpenCLIP's that timm publishes too, behind OpenCLIP's own preprocessing."""
    theirs = timm_name(spec, name)
    opened = _open_timm(spec, theirs, preprocess)
    pixels = opened.preprocessing.model_copy(
        update={
            "crop_pct": 1.0,
            "mode": "squash" if "_siglip_" in theirs else "crop",
            "source": f"{opened.preprocessing.source}; OpenCLIP: crop_pct, mode",
        }
    )
    pooled = "pre_logits" if theirs.startswith("resnet") else ""
    return replace(opened, preprocessing=pixels, head=None, representation=pooled)  # its head projects


def _hub_config(spec: str, name: str) -> dict[str, Any]:
    """The config.json of a repository; empty where it has that of OpenCLIP only."""
    with fetching(f"config.json of {name}"):
        try:
            return dict(json.loads(Path(hf_hub_download(name, "config.json")).read_text(encoding="utf-8")))
        except EntryNotFoundError:
            return {}
        except (HFValidationError, ValueError, TypeError) as error:
            raise BackboneError("hf:ORG/NAME of a model", f"{spec}: {error}", "check the name") from error


def _hub_folder(spec: str, kind: str, name: str) -> Path | None:
    """The local copy of a repository of weights and configuration; None where the SPEC is none, or one of timm's.

    Raises:
        BackboneError: neither in the cache nor reachable, or without weights.
    """
    repository = open_clip_repository(spec, name) if kind == "openclip" else name
    if repository is None or kind not in ("hf", "openclip"):
        return None
    if kind == "hf" and "architecture" in _hub_config(spec, name):
        return None
    for weights in _WEIGHTS if kind == "hf" else _WEIGHTS[2:]:  # each only where there is none of those before
        with fetching(f"{repository}"):
            try:
                folder = Path(snapshot_download(repository, allow_patterns=["*.json", *weights]))
            except HFValidationError as error:
                raise BackboneError(f"{kind}: with a model", f"{spec}: {error}", "check the name") from error
        if read_folder(folder) is not None:
            return folder
    raise BackboneError(
        f"config.json and weights in {repository}",
        "no pair of them" if reachable() else "none in the local cache, and no network",
        "check the name, go online once, or give a weights file and --arch",
    )


def _open_python(spec: str, name: str, _: Sequence[str]) -> Opened:
    arch = Architecture("python", *split_options(name))
    module = arch.build()
    return _from_module(module, arch, Preprocessing(size=arch.size_of(module)), arch.canonical)


def _open_random(spec: str, name: str, preprocess: Sequence[str]) -> Opened:
    """Fresh weights: no classifier is kept, since it has learned nothing."""
    written = Architecture.parse(name)
    options = dict(written.options)
    seed = options.pop("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise BackboneError("a seed of 0 or more", f"seed={seed}", "write random:ARCH?seed=1")
    arch = _for_size(Architecture(written.family, written.name, options), preprocess)
    module = arch.build(seed)
    source = "assumed: ImageNet statistics for random weights"
    preprocessing = Preprocessing(size=arch.size_of(module), source=source)
    return Opened(module, find_classifier(module), arch, preprocessing, Origin(spec), None)


def _for_size(arch: Architecture, preprocess: Sequence[str]) -> Architecture:
    """The architecture for the input size that the user sets, where it is bound to one (timm fits the positions)."""
    if not any(setting.partition("=")[0].strip() == "size" for setting in preprocess):
        return arch
    return arch.for_size(Preprocessing().override(preprocess).size)


def _sets_mode(preprocess: Sequence[str]) -> bool:
    return any(setting.partition("=")[0].strip() == "mode" for setting in preprocess)


# Files of a repository, in the order in which they are looked for.
_WEIGHTS: tuple[tuple[str, ...], ...] = (
    ("model.safetensors", "model-*-of-*.safetensors"),
    ("pytorch_model.bin", "pytorch_model-*-of-*.bin"),
    ("open_clip_model.safetensors",),
    ("open_clip_pytorch_model.bin",),
)

_OPENERS: dict[str, Callable[[str, str, Sequence[str]], Opened]] = {
    "timm": _open_timm,
    "hf": _open_hub,
    "openclip": _open_clip,
    "torchvision": _open_torchvision,
    "python": _open_python,
    "random": _open_random,
}
SPEC_KINDS: tuple[tuple[str, str], ...] = (
    (
        "PATH",
        "a weights file (torch, safetensors, npz) or a folder of transformers; --arch where it does not say it",
    ),
    ("timm:NAME", "timm's pretrained weights, from the hub or its local cache"),
    ("hf:ORG/NAME", "a timm, transformers or OpenCLIP model on the Hugging Face hub"),
    ("openclip:ARCH/TAG", "OpenCLIP's pretrained weights, from the hub or its local cache"),
    ("torchvision:NAME/WEIGHTS", "torchvision's pretrained weights"),
    ("python:MODULE:FACTORY", "what a Python function returns; a path to a .py file works as MODULE"),
    ("random:ARCH", "random weights of any architecture (?seed=1 for others): what learning nothing gives"),
)
"""How checkpoints are named, for `list models`."""
