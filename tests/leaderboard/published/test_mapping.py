"""Every published task means one protocol of ours, or says why none; what is meant exists as it is meant."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from benchmark.errors import RequestError, ResultError, SuiteError
from benchmark.metrics.names import split_name
from benchmark.metrics.registry import score
from benchmark.protocol import ProtocolSettings
from benchmark.runner.registry import load_task, task_names
from benchmark.task import Inputs, SplitFeatures, Task
from leaderboard.published.mapping import SHIPPED, Mapping, Target, published_map, read_map
from leaderboard.published.rows import PublishedRow, published_rows


def row_of(task: str) -> PublishedRow:
    return next(row for row in published_rows() if row.task == task)


def registered() -> dict[str, tuple[Task, ProtocolSettings]]:
    tasks = [load_task(name) for name in task_names()]
    return {protocol.name: (task, protocol) for task in tasks for protocol in task.protocols.values()}


def test_every_published_row_is_resolved() -> None:
    for row in published_rows():
        found = published_map().resolve(row)
        assert isinstance(found, Target) or found, row


def test_every_key_is_a_published_task() -> None:
    mapping = published_map()
    used = set()
    for task in {row.task for row in published_rows()}:
        rule, _ = mapping.rule_of(task)
        used.add(id(rule))
    idle = [rule.keys for rule in (*mapping.compared, *mapping.excluded) if id(rule) not in used]
    assert not idle


def test_every_protocol_that_is_meant_exists_or_is_awaited() -> None:
    """Where a task brings an awaited protocol, it has to be taken off the list in protocols.yaml."""
    mapping, there = published_map(), registered()
    named = {rule.protocol for rule in mapping.compared}
    assert len(set(mapping.awaited)) == len(mapping.awaited)
    assert set(mapping.awaited) <= named, "awaited, and no rule names it"
    assert {name for name in named if name not in there} == set(mapping.awaited)


def test_every_protocol_that_is_meant_is_of_the_version_and_selection_that_are_meant() -> None:
    there = registered()
    for rule in published_map().compared:
        if rule.protocol in there:
            _, protocol = there[rule.protocol]
            assert (protocol.version, protocol.paper) == (rule.version, rule.paper), rule.keys


def test_every_metric_that_is_meant_is_measured_under_its_protocol() -> None:
    there = registered()
    compared = 0
    for row in published_rows():
        target = published_map().resolve(row)
        if not isinstance(target, Target) or target.protocol not in there:
            continue
        task, protocol = there[target.protocol]
        if task.needs == ("pooled",):
            assert target.metric in measured(target.protocol, target.dataset), row
        else:
            multilabel = target.dataset.startswith("voc07")
            headline = task.headline_of(protocol, target.dataset, multilabel)
            base = split_name(target.metric)[0].removeprefix("mask_")  # of the same detections, where there are masks
            assert base in {split_name(headline)[0], *OVERLAPS}, row
        compared += 1
    assert compared > 100


OVERLAPS = {"AP", "AP50", "AP75"}
"""What a detector is quoted at."""


@cache
def measured(protocol: str, dataset: str) -> frozenset[str]:
    """The metrics that a protocol gives, from a run of it on noise."""
    rng = np.random.default_rng(0)
    task, settings = registered()[protocol]

    def split(name: str, per_class: int) -> SplitFeatures:
        targets = np.repeat(np.arange(6), per_class)
        features = rng.normal(size=(len(targets), 8)) + targets[:, None]
        ids = pa.array([f"{name}{index}" for index in range(len(targets))])
        return SplitFeatures(torch.from_numpy(features).float(), torch.from_numpy(targets), ids)

    inputs = Inputs(
        dataset=dataset, train=split("a", 50), test=split("b", 15), classes=tuple("abcdef"), device=torch.device("cpu")
    )
    return frozenset(metric.name for metric in score(task.predict(inputs, settings, 0).table))


@pytest.mark.parametrize(
    ("task", "protocol", "metric", "dataset"),
    [
        ("imagenet-1k/knn-dino", "knn/dino", "top1@k20", "imagenet-1k"),
        ("imagenet-1k/knn-dino-k100", "knn/dino", "top1@k100", "imagenet-1k"),
        ("imagenet-1k/linear-dinov2", "linear/dinov2/paper", "top1", "imagenet-1k"),
        ("eurosat/fewshot-5way5shot-ssl-transfer", "fewshot/proto", "top1@5way-5shot", "eurosat"),
        ("voc07/svm-lowshot-k16", "svm/voc07-lowshot/paper", "mAP@k16", "voc07"),
    ],
)
def test_a_key_names_its_protocol_and_metric(task: str, protocol: str, metric: str, dataset: str) -> None:
    row = next(row for row in published_rows() if row.task == task and isinstance(published_map().resolve(row), Target))
    target = published_map().resolve(row)
    assert isinstance(target, Target)
    assert (target.protocol, target.metric, target.dataset) == (protocol, metric, dataset)


def test_the_preprocessing_in_a_key_is_demanded() -> None:
    target = published_map().resolve(row_of("imagenet-a/timm-head@256-crop0.940-bicubic"))
    assert isinstance(target, Target)
    assert target.preprocessing == {"size": "256", "crop_pct": "0.940", "interpolation": "bicubic"}


@pytest.mark.parametrize(
    "task",
    [
        "imagenet-1k/linear-simsiam",
        "imagenet-1k/linear-ibot",
        "imagenet-1k/knn-instdisc-128d",
        "imagenet-1k/zero-shot-openclip",
        "imagenet-1k/finetune@384",
        "imagenet-v2/linear-dinov2",
        "imagenet-a/ft-mae",
        "imagenet-r/frozen-dinov3",
        "voc07/svm-feat4",
        "coco/maskrcnn-c4-2x",
        "ade20k/upernet-512-160k-ms",
        "k400/attentive-vjepa",
    ],
)
def test_another_recipe_is_never_ours(task: str) -> None:
    assert isinstance(published_map().resolve(row_of(task)), str)


def test_a_recipe_for_one_network_is_not_that_of_another() -> None:
    found = {
        row.arch: published_map().resolve(row) for row in published_rows() if row.task == "imagenet-1k/finetune-mae"
    }
    assert isinstance(found["vit_base_patch16"], Target)
    assert isinstance(found["vit_large_patch16"], str) and "another size" in found["vit_large_patch16"]


def write(folder: Path, text: str) -> Path:
    path = folder / "protocols.yaml"
    path.write_text(text)
    return path


MINIMAL = """
datasets: {{d: {{splits: [val]}}}}
compared:
- {{keys: [d/a], protocol: p/q, metrics: {{top1: top1}}, tolerance: 0.1, why: w{more}}}
excluded:
- {{keys: [{excluded}], why: none}}
"""


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (MINIMAL.format(more="", excluded="d/b").replace("datasets: {d:", "datasets: {e:"), ResultError, "d/a.*add d"),
        (MINIMAL.format(more=", only: {arch: [a]}", excluded="d/b"), ResultError, "otherwise"),
        (MINIMAL.format(more=", only: {flag: [a]}, otherwise: x", excluded="d/b"), ResultError, "source or arch"),
        (MINIMAL.format(more=", tolerence: 1", excluded="d/b"), SuiteError, "tolerance"),
        (MINIMAL.format(more="", excluded="d/b").replace("0.1", "-0.1"), SuiteError, "tolerance"),
        (MINIMAL.format(more="", excluded="d/b").replace("why: none", "why: ''"), SuiteError, "why"),
    ],
)
def test_a_damaged_mapping_is_named(tmp_path: Path, text: str, error: type[RequestError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        read_map(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_task_under_no_rule_or_two_is_an_error(tmp_path: Path) -> None:
    two = read_map(write(tmp_path, MINIMAL.format(more="", excluded="'*/a'")))
    with pytest.raises(ResultError, match=r"one rule for the published task d/a; found d/a, \*/a"):
        two.rule_of("d/a")
    with pytest.raises(ResultError, match="d/c; found none"):
        two.rule_of("d/c")


def test_a_star_and_a_part_stay_on_their_side_of_the_slash() -> None:
    mapping = Mapping.model_validate(
        {
            "datasets": {"d": {"splits": ["val"]}},
            "compared": [
                {"keys": ["d/k{k}"], "protocol": "p/q", "metrics": {"top1": "top1@k{k}"}, "tolerance": 0, "why": "w"}
            ],
            "excluded": [{"keys": ["*/other"], "why": "none"}],
        }
    )
    assert mapping.rule_of("d/k10")[1] == {"k": "10"}
    with pytest.raises(ResultError):
        mapping.rule_of("e/k10")


def test_the_page_has_every_protocol_that_is_compared_with_its_tolerance() -> None:
    """A line per rule in docs/published.md, and no line more."""
    expected = [
        f"| {', '.join(f'`{key}`' for key in rule.keys)} | `{rule.protocol}` | "
        f"{', '.join(f'`{metric}`' for metric in rule.metrics.values())} | {rule.tolerance:g} |"
        for rule in published_map().compared
    ]
    page = (Path(__file__).parents[3] / "docs" / "published.md").read_text(encoding="utf-8")
    assert [line for line in page.splitlines() if re.match(r"\| `[a-z0-9+-]+/", line)] == expected, "\n".join(expected)


def test_the_shipped_mapping_gives_every_tolerance_a_reason() -> None:
    assert all(len(rule.why) > 20 for rule in read_map(SHIPPED).compared)
