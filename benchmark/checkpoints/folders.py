"""Folders that hold one checkpoint: weights beside a config.json, as transformers, timm and OpenCLIP publish them.

The configuration is part of the checkpoint: it says what no shape does (heads, activation, epsilon), and its image
processor says what images go through.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.checkpoints.formats import refuse

LARGEST = 1 << 24  # bytes of a configuration; real ones have some thousands
# (configuration, names of weights), in the order in which they are looked for: OpenCLIP's says QuickGELU, timm's in the
# same folder need not; an index before what it lists.
_PAIRS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("open_clip_config.json", ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")),
    (
        "config.json",
        ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin"),
    ),
)
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}  # Pillow's numbers
_ACTIVATIONS = {"gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh", "gelu_python": "gelu"}


@dataclass(frozen=True)
class Folder:
    """What a folder's files say.

    Attributes:
        weights: the file of weights, or the index of its shards.
        config: the configuration.
        pixels: what images go through, as a layout's `preprocessing` says it; empty where no file says so.
        source: the file that says so.
    """

    weights: Path
    config: Mapping[str, Any]
    pixels: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""


def read_folder(path: Path) -> Folder | None:
    """The checkpoint in a folder; None where there is none.

    Raises:
        CheckpointError: a configuration that does not parse.
    """
    for name, candidates in _PAIRS:
        weights = next((path / candidate for candidate in candidates if (path / candidate).is_file()), None)
        if weights is None or not (path / name).is_file():
            continue
        config = _json(path / name)
        if name == "open_clip_config.json":
            model = {"quick_gelu": False, **_mapping(config.get("model_cfg"))}
            return Folder(weights, {**config, "model_cfg": model}, _open_clip(config), name)
        if isinstance(config.get("pretrained_cfg"), dict):
            return Folder(weights, config, _timm(config["pretrained_cfg"]), name)
        for processor in ("preprocessor_config.json", "processor_config.json"):
            if (path / processor).is_file():
                content = _json(path / processor)
                return Folder(weights, config, _transformers(content.get("image_processor") or content), processor)
        return Folder(weights, config)
    return None


def facts_of(config: Mapping[str, Any], origin: str = "config") -> Iterator[str]:
    """The plain values of a configuration as names that layouts recognise: `config:model_type=vit`."""
    for name, value in _flat(config):
        if isinstance(value, (str, int, float, bool)):
            yield f"{origin}:{name}={str(value).lower() if isinstance(value, bool) else value}"


def entry(config: Mapping[str, Any], name: str) -> Any:
    """An entry by its name, that of the image tower where there are towers; None where there is none."""
    tower = config.get("vision_config")
    value = tower.get(name, config.get(name)) if isinstance(tower, dict) else config.get(name)
    return _ACTIVATIONS.get(value, value) if isinstance(value, str) else value


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, dict) and prefix.count(".") < 2:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8")) if path.stat().st_size < LARGEST else None
    except (ValueError, RecursionError) as error:
        raise refuse(path, f"JSON that does not parse ({error})", "take the folder's files again") from error
    if not isinstance(content, dict):
        raise refuse(path, "a configuration that is no JSON object", "take the folder's files again")
    return content


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _known(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not None}


def _open_clip(config: Mapping[str, Any]) -> dict[str, Any]:
    """OpenCLIP's `preprocess_cfg`; the resize goes to the input size itself."""
    stated = _mapping(config.get("preprocess_cfg"))
    squash = stated.get("resize_mode") == "squash"
    found = {name: stated.get(name) for name in ("mean", "std", "interpolation")}
    return _known({**found, "crop_pct": 1.0, "mode": "squash" if squash else "crop"})


def _timm(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Timm's `pretrained_cfg`."""
    size = stated.get("input_size")
    found = {name: stated.get(name) for name in ("mean", "std", "interpolation", "crop_pct")}
    squash = {"squash": "squash", "center": "crop"}.get(str(stated.get("crop_mode")))
    return _known({**found, "mode": squash, "size": size[1:] if isinstance(size, list) and len(size) == 3 else None})


def _transformers(stated: Mapping[str, Any]) -> dict[str, Any]:
    """The image processors of transformers: resize to a size or a short side, perhaps a centre crop."""
    found: dict[str, Any] = {"interpolation": _FILTERS.get(stated.get("resample", -1))}
    found |= {"mean": stated.get("image_mean"), "std": stated.get("image_std")}
    if stated.get("do_normalize") is False:
        found |= {"mean": [0.0] * 3, "std": [1.0] * 3}
    size, crop = stated.get("size"), _sides(stated.get("crop_size"))
    short = size.get("shortest_edge") if isinstance(size, dict) else None
    sides = _sides(size)
    kind = str(stated.get("image_processor_type") or stated.get("feature_extractor_type") or "")
    if stated.get("do_center_crop", kind.startswith("CLIP")):
        crop = crop or sides or _sides(short)
        if isinstance(size, int):  # files of before 2022: a number is the short side where a crop follows
            short = size
        target = short or (sides[0] if sides else None)
        if crop and target:
            found |= {"size": crop, "crop_pct": min(crop[0] / target, 1.0), "mode": "crop" if short else "squash"}
    elif kind.startswith("ConvNext"):
        short = short or size
        if isinstance(short, int):  # from 384 pixels on, its processor squashes and crops nothing
            whole = short >= 384
            fraction = 1.0 if whole else stated.get("crop_pct") or 224 / 256
            found |= {"size": (short, short), "crop_pct": fraction, "mode": "squash" if whole else "crop"}
    elif sides:
        found |= {"size": sides, "crop_pct": 1.0, "mode": "squash"}
    elif isinstance(short, int):
        found |= {"size": (short, short), "crop_pct": 1.0, "mode": "crop"}
    return _known(found)


def _sides(value: Any) -> tuple[int, int] | None:
    """(h, w) of `224` or `{"height": 224, "width": 224}`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    if isinstance(value, dict) and isinstance(value.get("height"), int) and isinstance(value.get("width"), int):
        return value["height"], value["width"]
    return None
