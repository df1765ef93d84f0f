"""Reported images changed by whoever knows the network, by so little that nobody sees it, judged by one head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pydantic import field_validator, model_validator
from torch import Tensor

from benchmark.backbones.backbone import Backbone
from benchmark.data.sample import chosen_images, digest_order
from benchmark.errors import SuiteError
from benchmark.metrics.adversarial import Attack, adversarial_table
from benchmark.metrics.names import with_variant
from benchmark.task import Labels, Predictions, ShiftInputs
from tasks.corruptions import digests
from tasks.corruptions.draws import Streams, digest
from tasks.robustness.asked import asked_of, pixels_of
from tasks.robustness.attacks import BATCH, Network, fgsm, gradient, pgd
from tasks.robustness.autoattack import TARGETS, autoattack, check_classes, required
from tasks.robustness.judge import Judge, JudgeSettings, judge_of
from tasks.robustness.masking import refuse, violations
from tasks.robustness.part import Part, several_classes

LEAST, MOST = 0.5, 128
"""Radii in 255ths that are meant as such: fractions of the range as the literature gives them are below, 0.3 at most
(MNIST's), and no published radius is above."""
_ROUNDING = 1e-6  # of float32 pixels beyond a radius


class AdversarialSettings(JudgeSettings):
    """The head, the images, and the attacks.

    Attributes:
        eps: radii of FGSM and PGD in the maximum norm, in 255ths of the range from black to white: 4 is 4/255.
        steps: of PGD.
        autoattack: radii of AutoAttack, some of `eps`.
        autoattack_n: AutoAttack on as many of the images at most, first in the order of a digest of their ids; None
            for all.
    """

    eps: tuple[int | float, ...] = (1, 2, 4)
    steps: int = 40
    autoattack: tuple[int | float, ...] = (4,)
    autoattack_n: int | None = 5000

    @field_validator("eps", "autoattack", mode="before")
    @classmethod
    def _radii(cls, value: object) -> tuple[float, ...]:
        """Ascending; a single one may stand alone.

        Raises:
            SuiteError: a fraction of the range, or anything else that is no radius in 255ths.
        """
        given = list(value) if isinstance(value, list | tuple) else [value]
        numbers = [float(one) for one in given if isinstance(one, int | float) and not isinstance(one, bool)]
        radii = sorted({one for one in numbers if LEAST <= one <= MOST})
        if len(radii) < len(given):
            raise SuiteError(
                f"radii in 255ths, each once and from {LEAST} to {MOST}",
                ", ".join(map(str, given)),
                "write 4 for 4/255 (0.0157), and [1, 4] for 1/255 and 4/255",
            )
        return tuple(int(one) if one.is_integer() else one for one in radii)

    @model_validator(mode="after")
    def _sane(self) -> AdversarialSettings:
        """Refuses what would run, but without figures or without what they are checked against."""
        if not self.eps or not set(self.autoattack) <= set(self.eps):
            found = f"eps={_listed(self.eps)} autoattack={_listed(self.autoattack)}"
            raise SuiteError("radii for FGSM and PGD, AutoAttack's among them", found, "add to eps, or take away")
        for name in ("steps", "autoattack_n", "n"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SuiteError(f"{name} of 1 or more", str(value), "mend --set or the suite")
        return self

    @property
    def attacks(self) -> tuple[Attack, ...]:
        """From weak to strong and near to far."""
        kinds = {"fgsm": self.eps, "pgd": self.eps, "autoattack": self.autoattack}
        return tuple(Attack(kind, eps) for kind, radii in kinds.items() for eps in radii)


def predict_adversarial(inputs: ShiftInputs, protocol: AdversarialSettings, seed: int) -> Predictions:
    """Fits the head on train, attacks encoder and head together in the pixels, and asks about the changed images.

    The attacker knows both: gradients go through head, encoder and normalisation. Attacked is the image as the encoder
    sees it, resized and cropped. What is classified wrongly as it is counts as wrong under every attack and is not
    attacked. Success is what the head says of the changed image, encoded as any other.

    Raises:
        NotApplicable: there is no head, see `judge_of`.
        BackboneError: the encoder has no gradients, or they lead attacks astray (`masking`).
        DataError: an image that cannot be read.
    """
    judge = judge_of(inputs.features, protocol, seed)
    contest = _Contest(inputs, judge, protocol, seed)
    flat = contest.follow_gradients()
    facts = contest.autoattack()
    asked, found = contest.asked, contest.found
    right = {attack: np.where(best < 0, np.nan, best == asked.targets) for attack, best in found.items()}
    astray = violations(right)
    refuse(astray, flat)
    table = adversarial_table(asked.ids, asked.targets, contest.clean, found, len(inputs.features.classes))
    details = {
        "head": judge.details,
        "images": len(asked),
        "attacked": int(contest.open.sum()),
        "zero_gradients": flat,
        "violations": astray,
        "pgd": {"steps": protocol.steps, "step": "2.5 eps / steps", "start": "uniform"},
        **({"autoattack": facts} if protocol.autoattack else {}),
    }
    return Predictions(table, judge.how, judge.held_out, details)


class _Contest:
    """A judge against the attacks of a protocol on N images.

    Attributes:
        asked: the images.
        clean: (N,) the best class of each as it is.
        open: (N,) whether that is right, so that there is something to attack.
        found: attack -> (N,) the best class under it, -1 where it is not asked for.
    """

    def __init__(self, inputs: ShiftInputs, judge: Judge, protocol: AdversarialSettings, seed: int) -> None:
        self._inputs, self._judge, self._protocol, self._seed = inputs, judge, protocol, seed
        self._network = Network(judge, inputs.images.backbone)
        self.asked = asked_of(inputs, protocol.n)
        self.clean = judge.logits(self.asked.features).argmax(dim=1).cpu().numpy()
        self.open = self.clean == self.asked.targets
        self._few = np.zeros(len(self.asked), bool)
        self._few[digest_order(self.asked.ids)[: protocol.autoattack_n]] = True
        self.found = {
            attack: np.where(self._few, self.clean, -1) if attack.kind == "autoattack" else self.clean.copy()
            for attack in protocol.attacks
        }
        self._total = 2 * len(protocol.eps) * int(self.open.sum())
        self._total += len(protocol.autoattack) * int((self.open & self._few).sum())
        self._done = 0

    def follow_gradients(self) -> float | None:
        """FGSM and PGD at every radius.

        Returns:
            The share of attacked images whose gradient is 0 in every pixel; None where there was none to attack.
        """
        network, steps = self._network, self._protocol.steps
        keys = digests(self.asked.ids.to_pylist())
        flat = 0
        for images, targets, here in self._images(self.open):
            slope = network.fitting(gradient, images, targets)
            flat += int((slope.flatten(1) == 0).all(dim=1).sum())
            uniform = Streams(keys[here], "pgd", self._seed, images.device).uniforms(tuple(images.shape[1:]), 0)
            for attack in self._protocol.attacks:
                if attack.kind == "fgsm":
                    self._ask(attack, images, fgsm(images, slope, attack.radius), here)
                elif attack.kind == "pgd":
                    changed = network.fitting(pgd, images, targets, attack.radius, steps, 2 * uniform - 1)
                    self._ask(attack, images, changed, here)
        return flat / int(self.open.sum()) if self.open.any() else None

    def autoattack(self) -> dict[str, Any]:
        """AutoAttack at its radii, on its images; what there is to know of it, JSON-able."""
        classes = len(self._inputs.features.classes)
        warnings: Counter[str] = Counter()
        for images, targets, here in self._images(self.open & self._few) if self._protocol.autoattack else ():
            ids = self.asked.ids.take(pa.array(here)).to_pylist()
            drawn = digest("\0".join((str(self._seed), "autoattack", *ids))) & (2**32 - 1)
            for attack in self._protocol.attacks:
                if attack.kind == "autoattack":
                    changed, said = self._network.fitting(autoattack, images, targets, attack.radius, classes, drawn)
                    warnings.update(said)
                    self._ask(attack, images, changed, here)
        return {
            "version": "standard",
            "images": int(self._few.sum()),
            "target_classes": min(TARGETS, classes - 1),
            "warnings": dict(warnings),
        }

    def _images(self, which: np.ndarray) -> Iterator[tuple[Tensor, Tensor, np.ndarray]]:
        """Batches of the chosen ones (N,): (B, 3, H, W) float in [0, 1], their (B,) targets, their (B,) places."""
        places = np.flatnonzero(which)
        if not len(places):
            return
        split = chosen_images(self.asked.split, places, "attacked")
        for pixels, rows in pixels_of(self._inputs, split, BATCH):
            here = places[rows]
            yield pixels.float() / 255, torch.from_numpy(self.asked.targets[here]).to(pixels.device), here

    def _ask(self, attack: Attack, images: Tensor, changed: Tensor, here: np.ndarray) -> None:
        """Classifies changed images in the ordinary way and notes what is found.

        Raises:
            RuntimeError: the attack went farther than it may.
        """
        far = float((changed - images).abs().max())
        low, high = float(changed.min()), float(changed.max())
        if not (far <= attack.radius + _ROUNDING and low >= 0 and high <= 1):
            raise RuntimeError(f"{attack.name} changed pixels by {255 * far:.4f}/255, into [{low:.4f}, {high:.4f}]")
        logits = self._judge.of_images(self._inputs.images.backbone, changed)
        self.found[attack][here] = logits.argmax(dim=1).cpu().numpy()
        self._done += len(here)
        self._inputs.images.progress(self._done, self._total, attack.name)


def _listed(radii: tuple[float, ...]) -> str:
    return ",".join(f"{one:g}" for one in radii) or "none"


def _attackable(protocol: AdversarialSettings, backbone: Backbone) -> None:
    if protocol.autoattack:
        required()


def _enough_classes(protocol: AdversarialSettings, labels: Labels) -> None:
    several_classes(protocol, labels)
    if protocol.autoattack:
        check_classes(len(labels.classes))


def _headline(protocol: AdversarialSettings) -> str:
    """Top-1 under the strongest attack."""
    return with_variant("top1", protocol.attacks[-1].name)


PART = Part(
    settings=AdversarialSettings,
    protocols=(
        AdversarialSettings(
            name="robust/adversarial",
            summary="FGSM and PGD at 1, 2 and 4 /255, AutoAttack at 4/255 on 5000 images (the robust extra)",
        ),
        AdversarialSettings(
            name="robust/adversarial/own-head",
            head="own",
            summary="the same by the checkpoint's own head over ImageNet",
        ),
        AdversarialSettings(
            name="robust/adversarial@tiny",
            n=100,
            steps=10,
            autoattack=(),
            summary="FGSM and 10-step PGD at 1, 2 and 4 /255 on 100 images, without AutoAttack",
        ),
    ),
    predict=predict_adversarial,
    scorer="adversarial",
    headline=_headline,
    check_encoder=_attackable,
    check_labels=_enough_classes,
)
