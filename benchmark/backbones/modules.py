"""Encoders that are any torch module: features are read from what enters its classifier, and from its stages."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import SwinTransformer

from benchmark.backbones.backbone import Backbone, Offer
from benchmark.backbones.classifier import projects
from benchmark.backbones.features import Raw
from benchmark.backbones.timm_models import close
from benchmark.errors import BackboneError

_INPUT = "(what enters the classifier)"
_GLOBAL = re.compile("adaptive|avg|global|gem", re.IGNORECASE)  # classes of modules that pool a map to one vector
Seen = Callable[[str, Tensor], None]


@contextlib.contextmanager
def watched(module: nn.Module, outputs: list[str], classifier: str | None, seen: Seen) -> Iterator[None]:
    """Calls `seen(path, tensor)` for the outputs of submodules and for the classifier's input, within the block."""
    handles = [
        module.get_submodule(path).register_forward_hook(lambda _m, _in, out, path=path: seen(path, out))
        for path in outputs
    ]
    if classifier is not None:
        layer = module.get_submodule(classifier)
        handles.append(layer.register_forward_pre_hook(lambda _m, args: seen(_INPUT, args[0])))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class ModuleBackbone(Backbone):
    """A module whose forward is all that is known: `gap` is what enters its classifier.

    The stages are the last outputs of each spatial size among the submodules of the first two levels. Where learned
    layers stand between the last stage and the classifier within the classifier's own sequence (VGG, MobileNetV3),
    `gap` is the mean of the last stage and `pre_logits` what enters the classifier. A module without a classifier must
    itself return (B, D), (B, D, h, w) or (B, N, D) with `num_prefix_tokens` (0 without the attribute) leading tokens.

    Args:
        classifier: path of the classifier, an identity by now; None where the module has none.
    """

    def __init__(self, module: nn.Module, *, classifier: str | None = None, **kwargs: Any) -> None:
        self._classifier = classifier
        self._pooled_name = "avg" if isinstance(module, SwinTransformer) else "gap"
        super().__init__(module, **kwargs)

    def _probe(self, x: Tensor) -> Offer:
        candidates = [path for path, _ in self.module.named_modules() if self._may_be_stage(path)]
        order: list[tuple[str, Tensor]] = []
        with watched(self.module, candidates, self._classifier, lambda path, out: order.append((path, out))):
            output = self.module(x)
        paths = [path for path, _ in order]
        before = paths.index(_INPUT) if _INPUT in paths else len(paths)
        self._stages = self._stages_of(order[:before])
        self._rectified, self._prefix, self._grid = False, 0, (0, 0)
        if self._classifier is None:
            return self._probe_output(output)
        entered = [tensor for path, tensor in order if path == _INPUT]
        if len(entered) != 1:
            raise BackboneError(
                f"one call of {self._classifier!r} per image",
                f"{len(entered)} calls",
                "return features from the factory",
            )
        vector = flat(entered[0])
        outputs = dict(order)
        self._vector = "pre_logits"
        last = self._map(self._stages[-1], outputs) if self._stages else None
        self._mean_of_map = last is not None and (entered[0].ndim != 2 or projects(self.module, self._classifier))
        if last is not None:
            # DenseNet rectifies its last map in forward, outside of any module.
            self._rectified = not close(last.mean((2, 3)), vector) and close(last.relu().mean((2, 3)), vector)
        if not self._mean_of_map or (last is not None and close(self._final(outputs).mean((2, 3)), vector)):
            self._vector, self._mean_of_map = self._pooled_name, False
        dims = {self._pooled_name: last.shape[1]} if self._mean_of_map and last is not None else {}
        dims[self._vector] = vector.shape[1]
        # A head that acts on a map, or is followed by something, is not linear on a vector.
        linear = entered[0].ndim == 2 and isinstance(output, Tensor) and close(flat(output), vector)
        if last is not None:
            dims["patch"] = last.shape[1]
        reason = "what enters its classifier" if self._vector == self._pooled_name else "the mean of its last map"
        return Offer(dims, self._pooled_name, reason, len(self._stages), self._vector if linear else None)

    def _probe_output(self, output: Any) -> Offer:
        """The offer of a module without a classifier, by the shape of what it returns."""
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        self._stages, self._vector, self._mean_of_map = [], "gap", False
        if isinstance(output, Tensor) and output.ndim == 2:
            return Offer({"gap": output.shape[1]}, "gap", "the vector that the module returns", 0, None)
        if isinstance(output, Tensor) and output.ndim == 4:
            width = output.shape[1]
            return Offer({"gap": width, "patch": width}, "gap", "the mean of the map that the module returns", 1, None)
        if isinstance(output, Tensor) and output.ndim == 3:
            self._prefix = int(getattr(self.module, "num_prefix_tokens", 0))
            side = round((output.shape[1] - self._prefix) ** 0.5)
            width = output.shape[2]
            if side > 0 and side * side == output.shape[1] - self._prefix:
                self._grid = (side, side)
                dims = {"avg": width, "patch": width}
                if self._prefix:
                    dims = {"cls": width, "avg": width, "cls+avg": 2 * width, "patch": width}
                default = "cls" if self._prefix else "avg"
                return Offer(dims, default, "the tokens that the module returns", 1, None)
        raise BackboneError(
            "a module with a classifier (fc, head, classifier), or one that returns (B, D), (B, D, h, w) or (B, N, D)",
            f"{self.arch} returns {shape}",
            "let the factory return such a module (num_prefix_tokens says how many tokens lead)",
        )

    def _may_be_stage(self, path: str) -> bool:
        """A child of the module, or of a container of it; not the branch of a block (Inception's)."""
        parent, dot, _ = path.rpartition(".")
        container = isinstance(self.module.get_submodule(parent), nn.Sequential | nn.ModuleList)
        before_head = self._classifier is None or path.partition(".")[0] != self._classifier.partition(".")[0]
        return bool(path) and before_head and (not dot or ("." not in parent and container))

    def _stages_of(self, order: list[tuple[str, Tensor]]) -> list[str]:
        """The last module at each spatial size, in the order of execution, sizes shrinking, up to global pooling."""
        paths = [path for path, _ in order]
        latest: dict[tuple[int, int], str] = {}
        for path, out in order:
            if path == _INPUT or not isinstance(out, Tensor) or out.ndim != 4 or paths.count(path) > 1:
                continue
            size = tuple(self._map(path, {path: out}).shape[-2:])
            if size == (1, 1) and _GLOBAL.search(type(self.module.get_submodule(path)).__name__):
                break
            latest[size[0], size[1]] = path
        stages: list[str] = []
        area = float("inf")
        for (height, width), path in sorted(latest.items(), key=lambda item: paths.index(item[1])):
            if height * width < area:
                stages.append(path)
                area = height * width
        return stages

    def _map(self, path: str, outputs: dict[str, Tensor]) -> Tensor:
        """The output of a stage as (B, D, h, w); torchvision's Swin works in (B, h, w, D) up to its `permute`."""
        out = outputs[path]
        return out.permute(0, 3, 1, 2) if isinstance(self.module, SwinTransformer) and path != "permute" else out

    def _final(self, outputs: dict[str, Tensor]) -> Tensor:
        last = self._map(self._stages[-1], outputs)
        return last.relu() if self._rectified else last

    def _features(self, x: Tensor, names: frozenset[str], layers: tuple[int, ...]) -> Raw:
        wanted = [self._stages[index] for index in layers] if self._stages else []
        if self._mean_of_map and self._pooled_name in names:
            wanted.append(self._stages[-1])
        outputs: dict[str, Tensor] = {}
        with watched(self.module, sorted(set(wanted)), self._classifier, outputs.__setitem__):
            output = self.module(x)
        if self._classifier is None:
            return self._read_output(output, names, layers)
        vectors = {self._vector: flat(outputs[_INPUT])} if self._vector in names else {}
        if self._mean_of_map and self._pooled_name in names:
            vectors[self._pooled_name] = self._final(outputs).mean((2, 3))
        last = len(self._stages) - 1
        return Raw(
            vectors,
            {i: self._final(outputs) if i == last else self._map(self._stages[i], outputs) for i in layers},
        )

    def _read_output(self, output: Tensor, names: frozenset[str], layers: tuple[int, ...]) -> Raw:
        found: dict[str, Tensor] = {}
        maps: dict[int, Tensor] = {}
        if output.ndim == 3:
            patches = output[:, self._prefix :]
            found["avg"] = patches.mean(1)
            if self._prefix:
                found["cls"] = output[:, 0]
                found["cls+avg"] = torch.cat([found["cls"], found["avg"]], dim=1)
            maps = {0: patches.transpose(1, 2).unflatten(2, self._grid)}
        else:
            found["gap"] = output.mean((2, 3)) if output.ndim == 4 else output
            maps = {0: output} if output.ndim == 4 else {}
        return Raw({name: found[name] for name in names}, {i: maps[i] for i in layers})


def flat(entered: Tensor) -> Tensor:
    """What enters a classifier as (B, D): a map is averaged, a vector left as it is."""
    return entered.mean((2, 3)) if entered.ndim == 4 else entered
