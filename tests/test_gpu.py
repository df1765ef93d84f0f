"""What a GPU computes is what the CPU computes, and running out of its memory is survived."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from benchmark.backbones.execution import plan_execution
from benchmark.backbones.sources import open_backbone
from benchmark.data.source import open_source
from benchmark.metrics.registry import score
from benchmark.runner.registry import load_protocol, load_task
from benchmark.task import ImageInputs, Inputs, Predictions, SplitFeatures
from tasks.robustness import adversarial
from tasks.robustness.adversarial import AdversarialSettings, predict_adversarial
from tasks.segmentation.augmented import AugmentedSettings, predict_augmented
from tasks.solvers.neighbours import search
from tests.backbones.building import PLAIN, echo
from tests.command import CommandLine
from tests.tasks.robustness.linear_world import SIZE, linear_world
from tests.tasks.worlds import blobs

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")


def relative(found: torch.Tensor, reference: torch.Tensor) -> float:
    return float((found.cpu() - reference).norm() / reference.norm())


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-5), ("tf32", 2e-3), ("bf16", 3e-2), ("fp16", 5e-3)])
@pytest.mark.parametrize("arch", ["resnet18", "vit_tiny_patch16_224", "test_convnext"])
def test_features_equal_the_cpus_within_the_precision(arch: str, precision: str, bound: float) -> None:
    images = torch.randint(0, 256, (6, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    options = ("size=224",)
    cpu = open_backbone(f"random:{arch}", preprocess=options)
    gpu = open_backbone(f"random:{arch}", preprocess=options, execution=plan_execution("cuda", precision))
    assert cpu.weights_hash == gpu.weights_hash
    ours, reference = gpu.encode(images), cpu.encode(images)
    for name in set(cpu.representations) - {"patch"}:
        assert ours.global_(name).is_cuda
        assert relative(ours.global_(name), reference.global_(name)) < bound, name


def test_a_batch_that_does_not_fit_is_halved_and_gives_the_same_features() -> None:
    backbone = open_backbone("random:resnet18", execution=plan_execution("cuda", "fp32"))
    images = torch.randint(0, 256, (512, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    reference = torch.cat([backbone.encode(part, ["gap"], layers=0).global_("gap") for part in images.split(16)])
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 1.2e9) / total)
    try:
        found = backbone.encode(images, ["gap"], layers=0).global_("gap")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert backbone.batch_limit is not None and backbone.batch_limit < 512
    assert relative(found, reference.cpu()) < 1e-5


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_neighbours_are_the_exact_ones(metric: str) -> None:
    rng = np.random.default_rng(0)
    train, test = (rng.normal(size=(n, 64)).astype(np.float32) for n in (5000, 300))
    _, indices = search(*(torch.from_numpy(x).cuda() for x in (train, test)), k=20, metric=metric)  # type: ignore[arg-type]
    if metric == "dot":
        expected = (test @ train.T).argsort(axis=1)[:, ::-1][:, :20]
    else:
        named = {"cosine": "cosine", "l2": "euclidean"}[metric]
        expected = NearestNeighbors(n_neighbors=20, metric=named, algorithm="brute").fit(train).kneighbors(test)[1]
    assert (indices.cpu().numpy() == expected).mean() > 0.999


def on(device: str, inputs: Inputs) -> Inputs:
    def move(split: SplitFeatures) -> SplitFeatures:
        return SplitFeatures(split.features.to(device), split.targets.to(device), split.ids)

    return Inputs(
        dataset=inputs.dataset,
        train=move(inputs.train),
        test=move(inputs.test),
        classes=inputs.classes,
        device=torch.device(device),
    )


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("knn", "knn/dino"),
        ("knn", "knn/wmse"),
        ("nmc", None),
        ("linear", "logreg/sweep"),
        ("linear", "ridge/big-vision"),
        ("fewshot", None),
        ("lowshot", None),
    ],
)
def test_every_task_gives_the_cpus_figures(name: str, protocol: str | None) -> None:
    inputs = blobs(classes=6, noise=2.5)
    task = load_task(name)
    settings = load_protocol(task, protocol, {})
    first, second = (
        {metric.name: metric.value for metric in score(task.predict(on(device, inputs), settings, 0).table)}
        for device in ("cpu", "cuda")
    )
    assert first.keys() == second.keys()
    for metric, value in first.items():
        assert second[metric] == pytest.approx(value, rel=0.02, abs=0.7), metric


def test_a_run_on_the_gpu_gives_the_cpus_table(cli: CommandLine, tmp_path: Path) -> None:
    def run(device: str) -> dict[str, float]:
        outcome = cli(
            "run",
            "--checkpoint",
            "random:test_resnet",
            "--preprocess",
            "size=64",
            "crop_pct=1",
            "--data",
            "s=scenes:?train=400&test=200&difficulty=0.1",
            "--device",
            device,
            "--out",
            tmp_path / device,
        )
        assert outcome.code == 0, outcome.err
        rows = [line.split(",") for line in cli("table", tmp_path / device, "--format", "csv").out.splitlines()]
        header = rows[0]
        return {
            row[header.index("metric")] + row[header.index("task")]: float(row[header.index("value")])
            for row in rows[1:]
        }

    cpu, gpu = run("cpu"), run("cuda")
    assert cpu.keys() == gpu.keys()
    for name, value in cpu.items():
        if name.startswith("top1"):
            assert gpu[name] == pytest.approx(value, abs=2.5), name


@pytest.mark.parametrize("arch", ["test_vit", "test_resnet"])
def test_a_head_trained_on_crops_is_the_cpus_and_the_same_every_time(arch: str, tmp_path: Path) -> None:
    data = open_source("s", "scenes:?train=24&test=10&classes=4&size=64&difficulty=0")
    protocol = AugmentedSettings(name="p", iterations=40, batch=6, size=64, short=64, long=256, lr=0.01, layers=2)

    def learn(device: str, run: int) -> Predictions:
        execution = plan_execution(device, "fp32")
        return predict_augmented(
            ImageInputs(
                dataset="s",
                train=data.splits["train"],
                test=data.splits["test"],
                classes=data.mask_classes,
                backbone=open_backbone(f"random:{arch}", preprocess=["size=64"], execution=execution),
                device=execution.torch_device,
                scratch=tmp_path / f"{device}{run}",
                workers=2,
            ),
            protocol,
            seed=0,
        )

    cpu, gpu, again = learn("cpu", 0), learn("cuda", 0), learn("cuda", 1)
    assert gpu.details["loss_curve"]["loss"] == pytest.approx(cpu.details["loss_curve"]["loss"], rel=0.02)
    assert again.details == gpu.details
    values = [{metric.name: metric.value for metric in score(found.table)} for found in (cpu, gpu)]
    assert values[1]["aAcc"] == pytest.approx(values[0]["aAcc"], abs=2)


def test_attacks_find_on_a_gpu_what_they_find_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """AutoAttack with the radius at which it is done with its first attacks."""
    monkeypatch.setattr(adversarial, "judge_of", lambda inputs, protocol, seed: world.judge)
    found = []
    for device in ("cpu", "cuda"):
        encoder = echo(PLAIN.override([f"size={SIZE}", "crop_pct=1"]), execution=plan_execution(device, "fp32"))
        world = linear_world(classes=5, backbone=encoder)
        eps = [round(share * float(world.reach.max()), 3) for share in (0.4, 1.1)]
        protocol = AdversarialSettings(name="test", eps=eps, autoattack=eps[1:], steps=10)
        found.append(predict_adversarial(world.inputs, protocol, 0).table)
    assert found[0].equals(found[1])
