"""The Backbone contract: one sealed `encode` for every encoder, so that nobody can forget to normalise.

Representations, (B, D) each, by name:

* `cls`: the class token of the last block after the final norm.
* `avg`: the mean of the patch tokens after the final norm, class and register tokens left out. Where a model was
  trained with its norm behind the pooling (timm's `fc_norm`), the norm is applied where it was trained.
* `cls+avg`: both, in this order (DINO's linear evaluation of ViT-B).
* `last4`: the class tokens of the last four blocks, each through the final norm, first to last (DINO's of ViT-S).
* `gap`: the global average pool of the last map of a convolutional network (any encoder whose final map is NCHW),
  through the norm that stands between pooling and classifier (ConvNeXt) if there is one. Such networks have no `avg`.
* `pre_logits`: what enters the classifier, where it is none of the above: attention pooling (SigLIP), or learned
  layers between pooling and classifier (MobileNetV3, VGG).
* `patch`: the map of the last layer, see `Features.grid`.
"""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmark.backbones.backoff import Backoff
from benchmark.backbones.execution import Execution
from benchmark.backbones.features import Features, Layers, Raw, layer_indices
from benchmark.backbones.preprocessing import Preprocessing
from benchmark.errors import BackboneError, nearest


@dataclass(frozen=True)
class Head:
    """The supervised classifier of a checkpoint: logits = features @ weight.T + bias.

    `weight` is (C, D), `bias` (C,) or None, `representation` what it was trained on.
    """

    weight: Tensor
    bias: Tensor | None
    representation: str


@dataclass(frozen=True)
class Origin:
    """Where the weights came from.

    Attributes:
        spec: as on the command line.
        file: the name of the weights file, without its folder; None for other specs.
        sha256: of that file.
        layout: the layout it was read by.
        key: where in the file the encoder is.
        dropped: key of the file -> why it is no part of the encoder.
        notices: things a reader of the results should know.
    """

    spec: str
    file: str | None = None
    sha256: str | None = None
    layout: str | None = None
    key: str | None = None
    dropped: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Offer:
    """What an adapter found that its encoder can give, at the input size of the preprocessing.

    Attributes:
        dims: representation -> D, in the order in which they are listed; `patch` where there is a map.
        default: the representation used when none is asked for.
        reason: why, in one line.
        depth: the number of layers with maps (0 without `patch`).
        classified: the representation that a supervised head stands on; None where there is none of ours.
    """

    dims: Mapping[str, int]
    default: str
    reason: str
    depth: int
    classified: str | None


class Backbone(ABC):
    """A loaded encoder. Subclasses fill `_probe` and `_features`; `encode` is sealed.

    Attributes:
        arch: the architecture as written, canonical; `identity` is what of it is hashed, where a part (the tag of
            published weights) says nothing about the network.
        module: the encoder, in eval mode and without its classifier; for tasks that train it.
        params: the number of its parameters.
        preprocessing: what `encode` applies.
        execution: device, precision, memory layout.
        head: the checkpoint's supervised classifier, where it has one on a representation of this backbone.
        supervised: whether the weights came with a classifier, usable or not.
        origin: where the weights came from.
        weights_hash: digest of the encoder's tensors and architecture, whatever file they came in.
        representations, dims, default_representation, default_reason, depth: see `Offer`.
    """

    SEALED: ClassVar[tuple[str, ...]] = ("encode", "_encode_part", "_check_images", "_check_names")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        broken = [name for name in Backbone.SEALED if name in cls.__dict__]
        if broken:
            raise TypeError(f"{cls.__name__} overrides {', '.join(broken)}, which are sealed: fill _features instead")

    def __init__(
        self,
        module: nn.Module,
        *,
        arch: str,
        identity: str | None = None,
        preprocessing: Preprocessing,
        execution: Execution,
        origin: Origin,
        head: tuple[Tensor, Tensor | None] | None = None,
        representation: str = "",
    ) -> None:
        self.arch = arch
        self.preprocessing = preprocessing
        self.execution = execution
        self.params = sum(parameter.numel() for parameter in module.parameters())
        self.weights_hash = hash_weights(module, identity or arch)
        self.module = module.eval().requires_grad_(False).to(execution.torch_device)
        if execution.channels_last:
            self.module = self.module.to(memory_format=torch.channels_last)
        self.supervised = head is not None
        self._backoff = Backoff()
        noise = torch.rand(1, 3, *preprocessing.size, generator=torch.Generator().manual_seed(0))
        try:
            with execution.model_copy(update={"precision": "fp32"}).arithmetic():
                offer = self._probe(self._to_input(noise))
        except (AssertionError, RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
            size = "x".join(map(str, preprocessing.size))
            raise BackboneError(
                f"{arch} to take images of {size}",
                f"{type(error).__name__}: {str(error)[:200]}",
                "set --preprocess size=..., or the architecture's own argument (ARCH?img_size=...)",
            ) from error
        self.dims = MappingProxyType(dict(offer.dims))
        self.representations = tuple(offer.dims)
        self.default_representation, self.default_reason = offer.default, offer.reason
        if representation:
            if representation not in offer.dims:
                raise BackboneError(
                    f"the representation {representation}, which layout {origin.layout} evaluates",
                    f"{arch} with {', '.join(offer.dims)}",
                    "check --arch and --layout",
                )
            self.default_representation = representation
            self.default_reason = f"what the layout {origin.layout} says that its authors evaluate"
        self.depth = offer.depth
        self.head: Head | None = None
        if head is not None and offer.classified is not None and head[0].shape[1] == self.dims[offer.classified]:
            self.head = Head(head[0], head[1], offer.classified)
        self.origin = origin
        self._run = torch.compile(self._features) if execution.compile else self._features

    def under(self, preprocessing: Preprocessing) -> Backbone:
        """The same encoder behind another preprocessing of the same size; they share their weights."""
        if preprocessing.size != self.preprocessing.size:
            raise BackboneError(
                f"the input size {self.preprocessing.size}",
                str(preprocessing.size),
                "open the checkpoint for that size",
            )
        other = copy.copy(self)
        other.preprocessing = preprocessing
        return other

    @cached_property
    def stride(self) -> int:
        """Pixels of the input between two cells of the last map; 0 without maps."""
        if not self.depth:
            return 0
        grey = torch.full((1, 3, *self.preprocessing.size), 127, dtype=torch.uint8)
        return round(self.preprocessing.size[0] / self.encode(grey, []).grid().shape[-2])

    @abstractmethod
    def _probe(self, x: Tensor) -> Offer:
        """Tries the encoder on one image (1, 3, H, W), already normalised, and says what it can give."""

    @abstractmethod
    def _features(self, x: Tensor, names: frozenset[str], layers: tuple[int, ...]) -> Raw:
        """The named vectors and the maps of the given layers.

        Args:
            x: (B, 3, H, W), the encoder's input.
            names: representations with one vector per image, all of them offered.
            layers: indices from 0, all of them offered.
        """

    def macs(self) -> int:
        """Multiply-adds of one image at the input size (what papers quote as FLOPs), counted in one forward pass.

        Convolutions, matrix products and attention; normalisation and activations are not counted, as usual.
        """
        image = torch.zeros(1, 3, *self.preprocessing.size, device=self.execution.torch_device)
        with self.execution.arithmetic(), FlopCounterMode(display=False) as counter:
            self._features(self._to_input(image), frozenset({self.default_representation}), ())
        return int(counter.get_total_flops()) // 2

    def _bare_maps(self, x: Tensor, layers: tuple[int, ...]) -> dict[int, Tensor]:
        """The maps of layers as they leave them: without the final norm of a transformer and without layers behind.

        Here those of `_features`; a kind of encoder whose maps these are not says which they are.
        """
        return self._features(x, frozenset(), layers).maps

    @property
    def batch_limit(self) -> int | None:
        """The largest batch that fitted after memory had run out; None when it never did."""
        return self._backoff.limit

    @final
    def encode(
        self,
        images: Tensor,
        representations: Sequence[str] | None = None,
        layers: Layers = 1,
        gradients: bool = False,
    ) -> Features:
        """Resizes, crops and normalises images as the preprocessing says, and encodes them.

        A batch that does not fit in memory is halved until it does, and so are those after it.

        Args:
            images: (B, 3, h, w) RGB, uint8 or float in [0, 1], on any device. Of another size than the preprocessing's
                they are resized and cropped as tensors; `Preprocessing.geometry` does it on photos.
            representations: those wanted; None for all of them.
            layers: the maps to keep for `Features.grid`: the last n layers, or indices; 0 or () keeps none.
            gradients: autograd goes from the features back to float images; the encoder's parameters stay as they are.
                The numbers are those without gradients. Such a batch is never halved, since what its parts hold for the
                way back is held together: `torch.OutOfMemoryError` is the caller's.

        Returns:
            Features in float32 on the device of the encoder, usable in autograd.

        Raises:
            BackboneError: images of a wrong shape, type or range, a representation or layer the backbone does not have,
                features that are not finite, or gradients of what has none.
        """
        self._check_images(images)
        names, indices = self._check_names(representations, layers)
        if gradients:
            if not (images.requires_grad and torch.is_grad_enabled()):
                found = f"{images.dtype} images, requires_grad={images.requires_grad}, autograd "
                raise BackboneError(
                    "images with requires_grad, and autograd switched on, where gradients are asked for",
                    found + ("on" if torch.is_grad_enabled() else "off"),
                    "call images.requires_grad_(), or leave gradients out",
                )
            return self._encode_part(images, names, indices, gradients=True)
        return Features.cat(self._backoff.run(lambda part: self._encode_part(part, names, indices), images))

    def _encode_part(
        self, images: Tensor, names: frozenset[str], layers: tuple[int, ...], gradients: bool = False
    ) -> Features:
        images = images.to(self.execution.torch_device, non_blocking=True)
        run = self._features if gradients else self._run  # compiled graphs are those of inference
        with self.execution.arithmetic(gradients):
            raw = run(self._to_input(self.preprocessing.fit(images)), names, layers)
            outputs = [*raw.vectors.values(), *raw.maps.values()]
            labels = [*raw.vectors, *(f"the map of layer {index}" for index in raw.maps)]
            finite = torch.stack([tensor.isfinite().all() for tensor in outputs])
            if not finite.all():  # the one synchronisation with the device
                wrong = [label for label, good in zip(labels, finite.tolist(), strict=True) if not good]
                raise BackboneError(
                    "finite features",
                    f"NaN or infinity in {', '.join(wrong)} of {self.arch} ({self.execution.precision})",
                    "check the weights and statistics, or use precision fp32",
                )
            if gradients and not all(tensor.requires_grad for tensor in outputs):
                cut = [label for label, tensor in zip(labels, outputs, strict=True) if not tensor.requires_grad]
                raise BackboneError(
                    "features that follow from the images by autograd",
                    f"{', '.join(cut)} of {self.arch} cut off from them",
                    "take no_grad, detach and rounding of integers out of its forward",
                )
        # Copied outside of inference mode, so that a head can be trained on them.
        vectors = {
            name: raw.vectors[name].to(torch.float32, copy=True) for name in self.representations if name in names
        }
        return Features(vectors, {i: raw.maps[i].to(torch.float32, copy=True) for i in layers}, self.depth)

    def _to_input(self, images: Tensor) -> Tensor:
        x = self.preprocessing.normalise(images.to(self.execution.torch_device))
        return x.contiguous(memory_format=torch.channels_last) if self.execution.channels_last else x.contiguous()

    def _check_images(self, images: Tensor) -> None:
        shape = tuple(images.shape)
        if len(shape) != 4 or shape[1] != 3 or 0 in shape:
            raise BackboneError("images of shape (B, 3, h, w)", f"shape {shape}", "stack RGB images")
        if images.dtype != torch.uint8:
            if not images.is_floating_point():
                raise BackboneError("uint8 images, or float in [0, 1]", f"{images.dtype}", "convert them to uint8")
            low, high = torch.stack(torch.aminmax(images)).tolist()
            if not (low >= 0 and high <= 1):
                raise BackboneError(
                    "float images in [0, 1]",
                    f"values from {low:.4g} to {high:.4g}",
                    "do not normalise them: encode does",
                )

    def _check_names(
        self, representations: Sequence[str] | None, layers: Layers
    ) -> tuple[frozenset[str], tuple[int, ...]]:
        names = self.representations if representations is None else tuple(representations)
        for name in names:
            if name not in self.dims:
                raise BackboneError(
                    f"a representation of {self.arch} ({', '.join(self.representations)})",
                    repr(name),
                    nearest(name, self.representations),
                )
        if self.depth == 0 and layers == 1:
            layers = 0  # the default of a backbone without maps
        indices = layer_indices(layers, self.depth)
        if "patch" in names and representations is not None and self.depth - 1 not in indices:
            indices = (*indices, self.depth - 1)
        vectors = frozenset(name for name in names if name != "patch")
        if not vectors and not indices:
            raise BackboneError("something to compute", "no representation and no layer", "name one of them")
        return vectors, indices


def hash_weights(module: nn.Module, arch: str) -> str:
    """Digest of an encoder: its architecture and its tensors (name, type, shape, bytes), sorted by name.

    The counters of BatchNorm are left out: files of one network come with and without them, and no feature depends on
    them.
    """
    digest = hashlib.blake2b(arch.encode(), digest_size=20)
    for name, tensor in sorted(module.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        digest.update(f"|{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(data.numpy())
    return digest.hexdigest()
