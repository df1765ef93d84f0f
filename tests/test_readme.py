"""What the README shows works as shown."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from sklearn.datasets import make_classification
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from benchmark.metrics.registry import score
from benchmark.suites.cards import Cards
from benchmark.suites.suite import Suite
from benchmark.task import Inputs, SplitFeatures, Task

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_task_of_30_lines_works_and_equals_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = (block for block in blocks("python") if "lda_task.py" in block)
    assert len(source.splitlines()) <= 30
    module = types.ModuleType("lda_task")
    monkeypatch.setitem(sys.modules, "lda_task", module)  # pydantic looks annotations up there
    exec(compile(source, "lda_task.py", "exec"), module.__dict__)
    task = module.__dict__["Lda"]()
    assert isinstance(task, Task)
    x, y = make_classification(400, 12, n_informative=6, n_classes=3, random_state=0)
    x = x.astype(np.float32)
    splits = [
        SplitFeatures(
            torch.from_numpy(x[part]), torch.from_numpy(y[part]).long(), pa.array([str(i) for i in range(200)])
        )
        for part in (slice(0, 200), slice(200, 400))
    ]
    inputs = Inputs(dataset="d", train=splits[0], test=splits[1], classes=("a", "b", "c"), device=torch.device("cpu"))
    predictions = task.predict(inputs, next(iter(task.protocols.values())), 0)
    top1 = next(metric for metric in score(predictions.table) if metric.name == "top1")
    reference = (
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(x[:200], y[:200]).score(x[200:], y[200:])
    )
    assert top1.value == pytest.approx(100 * reference, abs=0.51)  # one sample of 200 may tie


def test_the_yaml_examples_are_what_the_readers_take() -> None:
    suite, cards = None, None
    for block in blocks("yaml"):
        content = yaml.safe_load(block)
        if "models" in content:
            cards = Cards.model_validate(content)
        else:
            suite = Suite.model_validate(content)
    assert suite is not None and cards is not None
