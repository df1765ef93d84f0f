"""Encoders from timm: building them by name, their model cards, and reading features from them."""

from __future__ import annotations

import contextlib
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from benchmark.backbones.backbone import Backbone, Offer
from benchmark.backbones.features import Raw
from benchmark.backbones.hub import fetching
from benchmark.backbones.options import Value
from benchmark.backbones.preprocessing import Preprocessing
from benchmark.errors import BackboneError, nearest

# Arguments of timm's factory that say which weights to load or change what the model returns.
RESERVED = frozenset(
    {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "num_classes"}
    | {"features_only", "out_indices", "scriptable", "exportable", "no_jit", "in_chans", "device", "dtype"}
)
_SAME = 1e-4  # two ways to the same numbers differ by the order of float32 sums


def build_timm(name: str, options: Mapping[str, Value], pretrained: bool = False) -> nn.Module:
    """A timm model with its classifier, in float32 on the CPU.

    Args:
        name: a timm name, with or without the tag of its weights, or `hf-hub:ORG/NAME`.
        options: keyword arguments of the architecture.
        pretrained: load the weights of its card (from the local cache, or the hub when online).

    Raises:
        BackboneError: an unknown name or argument, or weights that are not there.
    """
    base, _, tag = name.partition(".")
    if not name.startswith("hf-hub:"):
        if not timm.is_model(base):
            raise BackboneError("a timm architecture", repr(base), nearest(base, timm.list_models()))
        if tag and name not in (known := timm.list_pretrained(f"{base}.*")):
            raise BackboneError(f"a tag of timm's {base}", repr(name), nearest(name, known))
    for option in options:
        if option in RESERVED:
            raise BackboneError("arguments of the architecture", f"{option!r}", "leave it out: the harness sets it")
    try:
        with fetching(f"weights of {name}") if pretrained else contextlib.nullcontext():
            arguments: dict[str, Any] = dict(options)
            model: nn.Module = timm.create_model(name, pretrained=pretrained, **arguments)
    except TypeError as error:
        found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        todo = nearest(found[1], _arguments(base)) if found else "see timm's documentation of this architecture"
        raise BackboneError(f"arguments of {base}", str(error), todo) from error
    except (RuntimeError, ValueError, KeyError, AssertionError, AttributeError, ImportError, IndexError) as error:
        raise BackboneError(
            f"timm to build {name}",
            f"{type(error).__name__}: {str(error)[:200]}",
            "check its arguments" if options else "see timm's documentation of this architecture",
        ) from error
    return model.float()


def _arguments(base: str) -> list[str]:
    """The keyword arguments of an architecture's class, for a did-you-mean."""
    hints = typing.get_type_hints(timm.model_entrypoint(base)) if timm.is_model(base) else {}
    made = hints.get("return")
    names = inspect.signature(made).parameters if inspect.isclass(made) else ()
    return sorted({"pad_type", "img_size"} | set(names) - RESERVED - {"self", "kwargs"})


def input_size(model: nn.Module, options: Mapping[str, Value]) -> tuple[int, int]:
    """(h, w) that a timm model was built for."""
    built = getattr(getattr(model, "patch_embed", None), "img_size", None) or options.get("img_size")
    if built is None:
        card = getattr(model, "pretrained_cfg", None) or {}
        built = tuple(card.get("input_size") or (3, 224, 224))[1:]
    height, width = built if isinstance(built, tuple) else (built, built)
    return int(typing.cast(int, height)), int(typing.cast(int, width))


def bound_to_size(model: nn.Module) -> bool:
    """Whether a timm model takes images of the size that it was built for only; others compute it as they go."""
    patches = getattr(model, "patch_embed", None)
    fixed = getattr(patches, "strict_img_size", False) or isinstance(getattr(model, "pos_embed", None), nn.Parameter)
    return hasattr(patches, "img_size") and bool(fixed)


def card_preprocessing(model: nn.Module, name: str, options: Mapping[str, Value], overridden: bool) -> Preprocessing:
    """The preprocessing that the card of timm's weights states.

    Args:
        model: as built.
        name: for the source.
        options: as it was built with.
        overridden: the user sets `mode`, so that one we lack does not matter.

    Raises:
        BackboneError: the card asks for a padded border, which the harness does not offer.
    """
    card = resolve_model_data_config(model)
    if card["crop_mode"] == "border" and not overridden:
        raise BackboneError(
            "crop mode centre or squash", f"{name}: border", "give --preprocess mode=crop or mode=squash"
        )
    return Preprocessing(
        size=input_size(model, options),
        crop_pct=card["crop_pct"],
        interpolation=card["interpolation"],
        mean=tuple(card["mean"]),
        std=tuple(card["std"]),
        mode="squash" if card["crop_mode"] == "squash" else "crop",
        source=f"timm pretrained_cfg of {name}",
    )


class TimmBackbone(Backbone):
    """Any module with timm's `forward_features` and `forward_head`.

    Maps of inner layers come from `forward_intermediates`, those of plain transformers through the final norm (as DINO
    and DINOv2 evaluate them). The last layer is always the final map of `forward_features`: with the 1 x 1 convolution
    that ends MobileNetV2, with the final norm of Swin.
    """

    def _probe(self, x: Tensor) -> Offer:
        m: Any = self.module
        final = m.forward_features(x)
        pre = self._pre_logits(final)
        if pre.ndim != 2:
            raise BackboneError(
                f"a pooled vector from {self.arch}", f"shape {tuple(pre.shape)}", "keep its global_pool"
            )
        self._readers: dict[str, Callable[[Tensor], Tensor]] = {}
        self._grid: tuple[int, int] = (0, 0)
        self._final_map = True  # the last map is read from forward_features
        self._prefix = int(getattr(m, "num_prefix_tokens", 0) or 0)
        self._kind, inner = "other", self._inner_maps(x, final)
        depth = len(inner)
        if depth and isinstance(final, Tensor):
            self._grid = (inner[-1].shape[-2], inner[-1].shape[-1])
            self._kind = self._kind_of(final)
        elif isinstance(final, Tensor) and final.ndim == 4:
            self._grid, self._kind, depth = (final.shape[-2], final.shape[-1]), "map", 1
        depth = depth if self._kind != "other" else 0
        if self._kind == "tokens":
            self._final_map = close(self._map_of(final), inner[-1])
            if self._norm_before_pooling() and getattr(m, "cls_token", None) is not None and self._prefix > 0:
                self._readers["cls"] = lambda f: f[:, 0]
        pooled = "gap" if self._kind == "map" else "avg"
        if self._kind != "other":
            self._readers[pooled] = self._pooled
        if "cls" in self._readers:
            self._readers["cls+avg"] = lambda f: torch.cat([f[:, 0], self._pooled(f)], dim=1)
        found = {name: read(final) for name, read in self._readers.items()}
        classified = next((name for name in found if close(found[name], pre)), None)
        if classified is None:
            classified, found["pre_logits"] = "pre_logits", pre
            self._readers["pre_logits"] = self._pre_logits
        if self.supervised and not close(m(x), pre):  # a second classifier takes part (VOLO's on patches)
            classified = None
        dims = {name: vector.shape[1] for name, vector in found.items()}
        if "cls" in found and depth >= 4 and "return_prefix_tokens" in self._arguments:
            _, cls4 = self._inner(x, (), want_cls=True, depth=depth)
            if len(cls4) == 4 and close(cls4[-1], found["cls"]):
                dims["last4"] = 4 * dims["cls"]
        if depth:
            dims["patch"] = (self._map_of(final) if self._final_map else inner[-1]).shape[1]
        self._depth = depth
        default, reason = self._choose(dims)
        return Offer(dims, default, reason, depth, classified)

    def _choose(self, dims: Mapping[str, int]) -> tuple[str, str]:
        if getattr(self.module, "attn_pool", None) is not None and "pre_logits" in dims:
            return "pre_logits", "the encoder was trained to pool its tokens by attention"
        if "cls" in dims:
            return "cls", "a vision transformer with a class token behind its final norm"
        if "gap" in dims:
            return "gap", "a network that ends in a map: its global average pool"
        if "avg" in dims:
            return (
                "avg",
                "a transformer whose class token is missing or has no norm of its own: the mean of its patch tokens",
            )
        return "pre_logits", "no token or map could be told apart: the vector that enters the classifier"

    def _inner_maps(self, x: Tensor, final: Any) -> list[Tensor]:
        """Maps (1, D_i, h_i, w_i) of every inner layer, or none where the model does not give them faithfully."""
        m: Any = self.module
        self._arguments: frozenset[str] = frozenset()
        if not hasattr(m, "forward_intermediates"):
            return []
        self._arguments = frozenset(inspect.signature(m.forward_intermediates).parameters)
        tokens = isinstance(final, Tensor) and final.ndim == 3
        self._extra: dict[str, Any] = {"norm": True} if tokens and "norm" in self._arguments else {}
        try:
            again, inner = m.forward_intermediates(x, output_fmt="NCHW", **self._extra)
        except (
            AssertionError
        ):  # timm's way to say that an option does not exist: hierarchical tokens have no common norm
            self._extra = {}
            again, inner = m.forward_intermediates(x, output_fmt="NCHW")
        faithful = isinstance(again, Tensor) and isinstance(final, Tensor) and close(again, final)
        good = all(isinstance(part, Tensor) and part.ndim == 4 for part in inner)
        return list(inner) if faithful and good else []

    def _kind_of(self, final: Tensor) -> str:
        """`map` (B, D, h, w), `map_last` (B, h, w, D), `tokens` (B, prefix + h w, D), or `other`."""
        if final.ndim == 4:
            if str(getattr(self.module, "output_fmt", "")).endswith("NHWC"):
                return "map_last"
            return "map" if final.shape[-2:] == self._grid else "other"
        whole = self._prefix + self._grid[0] * self._grid[1]
        return "tokens" if final.ndim == 3 and final.shape[1] == whole else "other"

    def _norm_before_pooling(self) -> bool:
        norm, behind = getattr(self.module, "norm", None), getattr(self.module, "fc_norm", None)
        return not (isinstance(norm, nn.Identity) and behind is not None and not isinstance(behind, nn.Identity))

    def _pre_logits(self, final: Any) -> Tensor:
        """What enters the classifier, (B, D)."""
        m: Any = self.module
        pre: Tensor = m.forward_head(final, pre_logits=True)
        return pre.flatten(1) if pre.ndim == 4 and pre.shape[-2:] == (1, 1) else pre

    def _map_of(self, final: Tensor) -> Tensor:
        """The final map (B, D, h, w)."""
        if self._kind == "map_last":
            return final.permute(0, 3, 1, 2)
        if self._kind == "tokens":
            return final[:, self._prefix :].transpose(1, 2).unflatten(2, self._grid)
        return final

    def _pooled(self, final: Tensor) -> Tensor:
        """The spatial mean (B, D), through the norm that stands behind the pooling where there is one."""
        if self._kind == "map":
            mean = final.mean(dim=(2, 3))
        elif self._kind == "map_last":
            mean = final.mean(dim=(1, 2))
        else:
            mean = final[:, self._prefix :].mean(dim=1)
        norm: Any = None if self._norm_before_pooling() else self.module.fc_norm
        norm = norm or getattr(getattr(self.module, "head", None), "norm", None)
        if norm is None:
            return mean
        # Norms over maps want (B, D, 1, 1), those over vectors (B, D).
        mapwise = "2d" in type(norm).__name__
        return norm(mean[:, :, None, None]).flatten(1) if mapwise else norm(mean)

    def _inner(
        self, x: Tensor, layers: tuple[int, ...], want_cls: bool, depth: int
    ) -> tuple[tuple[Any, dict[int, Tensor]], list[Tensor]]:
        """((final features, maps of `layers`), class tokens of the last four blocks)."""
        m: Any = self.module
        last = range(depth - 4, depth) if want_cls else ()
        indices = sorted({*layers, *last, depth - 1})  # with the last one: some models stop after the last index
        extra = {**self._extra, **({"return_prefix_tokens": True} if want_cls else {})}
        final, inner = m.forward_intermediates(x, indices=indices, output_fmt="NCHW", **extra)
        by_layer = dict(zip(indices, inner, strict=True))
        if not want_cls:
            return (final, by_layer), []
        cls = [by_layer[index][1][:, 0] for index in last]
        return (final, {index: by_layer[index][0] for index in layers}), cls

    def _features(self, x: Tensor, names: frozenset[str], layers: tuple[int, ...]) -> Raw:
        m: Any = self.module
        last = self._depth - 1
        inner = tuple(index for index in layers if index != last or not self._final_map)
        vectors: dict[str, Tensor] = {}
        maps: dict[int, Tensor] = {}
        if inner or "last4" in names:
            (final, maps), cls = self._inner(x, inner, "last4" in names, self._depth)
            if cls:
                vectors["last4"] = torch.cat(cls, dim=1)
        else:
            final = m.forward_features(x)
        if last in layers and self._final_map:
            maps[last] = self._map_of(final)
        vectors.update({name: self._readers[name](final) for name in names if name in self._readers})
        return Raw(vectors, maps)

    def _bare_maps(self, x: Tensor, layers: tuple[int, ...]) -> dict[int, Tensor]:
        m: Any = self.module
        if not self._arguments:
            return super()._bare_maps(x, layers)
        maps = m.forward_intermediates(x, indices=list(layers), output_fmt="NCHW", intermediates_only=True)
        return dict(zip(layers, maps, strict=True))


def close(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same up to the order of float32 sums."""
    return a.shape == b.shape and bool((a - b).abs().max() <= _SAME * b.abs().max().clamp_min(1e-12))
