"""Results as the `model-index` metadata of a Hugging Face model card.

The metadata is a list of models, each with results: a task and a dataset of the Hub, and metrics with a type, a value
and a name (spec: huggingface/hub-docs, modelcard.md). Values are in percent, as in the example of the spec.
`verified` is never set: it is the Hub's own word for evaluations that it ran itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from huggingface_hub.repocard_data import EvalResult, eval_results_to_model_index

from benchmark.data.source import parse_source
from benchmark.errors import DataError, RequestError, ResultError
from benchmark.files import write_bytes
from benchmark.metrics.names import split_name
from benchmark.results.schema import Result
from benchmark.results.store import read_predictions
from leaderboard.comparability import conflicts
from leaderboard.gate.compare import read_side
from leaderboard.verify import problems_of

TASK_TYPES = {
    "classification": ("image-classification", "Image Classification"),
    "multilabel": ("image-classification", "Image Classification"),
    "episodes": ("image-classification", "Image Classification"),
    "segmentation": ("image-segmentation", "Image Segmentation"),
    "detection": ("object-detection", "Object Detection"),
    "detection-voc": ("object-detection", "Object Detection"),
    "corruptions": ("image-classification", "Image Classification"),
    "changes": ("image-classification", "Image Classification"),
    "calibration": ("image-classification", "Image Classification"),
    "ood": ("image-classification", "Image Classification"),
    "adversarial": ("image-classification", "Image Classification"),
    "imagenet-c": ("image-classification", "Image Classification"),
    "shift": ("image-classification", "Image Classification"),
    "shape-bias": ("image-classification", "Image Classification"),
}
"""Scorer -> (task of the Hub, its name)."""

METRIC_TYPES = {"top1": "accuracy", "mean_per_class": "balanced_accuracy", "mIoU": "mean_iou"}
"""Metrics that the Hub has an id for; the others keep their own name."""

OWN = "transferbench"
"""The key in a metric's `args` by which an entry is known as one that this command may replace."""


def read_model(where: str) -> list[Result]:
    """The results of the model that `DIR` or `DIR:NAME` names, every figure recomputed from its predictions.

    Raises:
        RequestError: no such model, or a result that is not reproduced.
    """
    side = read_side(where)
    results = [result for seeds in side.cells.values() for result in seeds.values()]
    for result in results:
        if result.status == "done":
            problems = problems_of(result, read_predictions(side.root, result))
            if problems:
                cell = f"{result.task} on {result.data.name}, seed {result.seed}: {problems[0]}"
                raise ResultError("figures that their predictions give", cell, f"run verify {side.root}")
    return results


def model_index(results: Sequence[Result], source_url: str | None = None) -> list[dict[str, Any]]:
    """The metadata of one model: the headline of each task, protocol and dataset, mean over seeds.

    Args:
        results: of one model; failed ones are left out.
        source_url: where the results can be looked at.

    Raises:
        ResultError: nothing finished, seeds that cannot be averaged, or a scorer that has no task on the Hub.
    """
    cells: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        if result.status == "done":
            cells.setdefault((result.data.name, result.task, result.protocol.name), []).append(result)
    if not cells:
        raise ResultError("a finished result", "none", "run the failed cells again")
    found = [_evaluation(seeds, source_url) for _, seeds in sorted(cells.items())]
    return eval_results_to_model_index(results[0].model.name, found)


def _evaluation(seeds: Sequence[Result], source_url: str | None) -> EvalResult:
    first = seeds[0]
    for other in seeds[1:]:
        found = conflicts(first, other)
        if found:
            what = f"{first.task} on {first.data.name}: {'; '.join(map(str, found))}"
            raise ResultError("seeds that may be averaged", what, "run them with one release on the same data")
    if first.scorer.name not in TASK_TYPES:
        raise ResultError("a scorer with a task on the Hub", repr(first.scorer.name), "leave its results out")
    metric = first.metric()
    figures = [result.metric(first.headline) for result in seeds]
    base, variant = split_name(first.headline)
    task_type, task_name = TASK_TYPES[first.scorer.name]
    dataset, config, revision = _dataset(first)
    label = f"{base} ({variant})" if variant else base
    return EvalResult(
        task_type=task_type,
        task_name=task_name,
        dataset_type=dataset,
        dataset_name=first.data.name,
        dataset_config=config,
        dataset_split=first.data.reported_split,
        dataset_revision=revision,
        metric_type=METRIC_TYPES.get(base, base),
        metric_name=f"{label}, {first.task}, {first.protocol.name} v{first.protocol.version}",
        metric_value=round(fmean(figure.value for figure in figures), 4),
        metric_args={
            OWN: {
                "protocol": first.protocol.name, "protocol_version": first.protocol.version, "task": first.task,
                "metric": first.headline, "higher_is_better": metric.higher_is_better,
                "seeds": sorted(result.seed for result in seeds), "n": metric.n, "selection": first.selection.how,
                "data_fingerprint": first.data.fingerprint, "weights_hash": first.model.weights_hash,
                **({"ci95": [round(metric.ci_low, 4), round(metric.ci_high, 4)]} if len(seeds) == 1 else {}),
            }
        },
        source_name="Transferbench" if source_url else None,
        source_url=source_url,
    )  # fmt: skip


def _dataset(result: Result) -> tuple[str, str | None, str | None]:
    """(id on the Hub, config, revision) where the data came from there; else the dataset's name alone."""
    try:
        source = parse_source(result.data.source)
    except DataError:  # a source of someone's own
        return result.data.name, None, None
    if source.kind != "hf" or not source.rest or source.rest.startswith((".", "/", "~")):
        return result.data.name, None, None
    name, _, config = source.rest, "", source.options.get("config")
    if name.count("/") == 2:
        name, _, config = name.rpartition("/")
    return name, config, source.options.get("revision")


def front_matter(index: Sequence[dict[str, Any]]) -> str:
    """The metadata as YAML."""
    return yaml.safe_dump({"model-index": list(index)}, sort_keys=False, allow_unicode=True, width=10_000)


def into_card(text: str, index: Sequence[dict[str, Any]], where: str) -> str:
    """A model card with the metadata in its front matter.

    Everything else stays as it is, to the byte: other keys, comments, the text. Of the results that the card has, those
    that an earlier call wrote give way; others stay.

    Args:
        text: the card, with or without front matter.
        index: what `model_index` gave.
        where: the card's name, for errors.

    Raises:
        RequestError: front matter that is no YAML mapping in block style, or a `model-index` that is none.
    """
    found = REGEX_YAML_BLOCK.search(text)
    ending = "\r\n" if "\r\n" in text else "\n"
    if found is None:
        return f"---\n{front_matter(index)}---\n".replace("\n", ending) + text
    block = found.group(2)
    todo = "mend the card's front matter"
    try:
        root = yaml.compose(block, Loader=yaml.SafeLoader)
        before = yaml.safe_load(block) or {}
    except yaml.YAMLError as error:
        raise RequestError("front matter in YAML", f"{where}: {error}", todo) from error
    if root is not None and (not isinstance(root, yaml.MappingNode) or root.flow_style):
        raise RequestError("front matter of one `key: value` per line", where, todo)
    made = front_matter(_joined(before.get("model-index") or [], index, where))
    start, end = len(block), len(block)
    for key, value in root.value if root is not None else ():
        if key.value == "model-index":
            start, end = key.start_mark.index, _end(value)
            end = max(end, block.find("\n", end) + 1 or len(block))
    head, tail = block[:start], block[end:]
    joined = head + (ending if head and not head.endswith(("\n", "\r")) else "") + made.replace("\n", ending) + tail
    whole = text[: found.start(2)] + joined.rstrip("\r\n") + text[found.end(2) :]
    kept = {key: value for key, value in before.items() if key != "model-index"}
    again = REGEX_YAML_BLOCK.search(whole)
    now = yaml.safe_load(again.group(2)) if again else {}
    if {key: value for key, value in now.items() if key != "model-index"} != kept:
        raise RequestError("front matter whose other keys can be left alone", where, "move `model-index` to its end")
    return whole


def _end(node: yaml.Node) -> int:
    """Where a node's own text ends (a block's mark lies behind the comments that follow it)."""
    if isinstance(node, yaml.MappingNode) and node.value and not node.flow_style:
        return _end(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
        return _end(node.value[-1])
    return int(node.end_mark.index)


def _joined(before: Any, index: Sequence[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    """The entries of a card without our earlier ones, and the new ones under the card's name for the model."""
    try:
        models = [
            {**model, "results": [kept for entry in model["results"] if (kept := _others(entry))]} for model in before
        ]
    except (TypeError, KeyError) as error:
        raise RequestError("a model-index as the Hub defines it", f"{where}: {error!r}", "mend or delete it") from error
    if not models:
        return list(index)
    return [{**models[0], "results": [*models[0]["results"], *index[0]["results"]]}, *models[1:]]


def _others(entry: dict[str, Any]) -> dict[str, Any] | None:
    """An entry without the metrics that are ours; None where nothing is left."""
    metrics = [metric for metric in entry["metrics"] if OWN not in (metric.get("args") or {})]
    return {**entry, "metrics": metrics} if metrics else None


def write_card(path: Path, index: Sequence[dict[str, Any]]) -> None:
    """Writes the metadata into a card, which is made where it is not there.

    Raises:
        RequestError: as `into_card`, or a card that is no text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig") if path.exists() else ""
    except UnicodeDecodeError as error:
        raise RequestError("a model card in UTF-8", f"{path}: {error}", "convert it") from error
    write_bytes(path, into_card(text, index, str(path)).encode())
