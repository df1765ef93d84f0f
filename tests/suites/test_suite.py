"""Suites and model cards are typed when read: what is wrong is named, with the nearest right name."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import SuiteError
from benchmark.suites.cards import load_cards
from benchmark.suites.suite import load_suite, shipped_suites


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", sorted(shipped_suites()))
def test_shipped_suites_read_and_are_named_after_their_file(name: str) -> None:
    assert load_suite(name).name == name


def test_a_users_suite_works_as_a_shipped_one(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "name: mine\nseeds: [0, 1]\ndatasets: {pets: 'folder:/pets', scenes: 'scenes:'}\n"
        "tasks:\n- task: knn\n  protocol: knn/vissl\n  datasets: [pets]\n  settings: {temperature: 0.2}\n",
    )
    suite = load_suite(str(path))
    assert suite.seeds == (0, 1)
    assert suite.tasks[0].settings == {"temperature": 0.2}
    assert suite.tasks[0].datasets == ("pets",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\ntaks:\n- task: knn\n", "tasks"),
        ("name: x\ntasks:\n- task: knn\n  protocl: knn/dino\n", "tasks.0.protocl.*protocol"),
        ("name: x\ntasks: []\n", "tasks"),
        ("name: x\ntasks:\n- task: knn\n  datasets: [pest]\ndatasets: {pets: 'folder:p'}\n", "pest.*pets"),
        ("name: x\nseeds: [1, 1]\ntasks:\n- task: knn\n", "distinct"),
        ("- 1\n", "mapping"),
        ("a: [", "valid YAML"),
        ("name: !!python/object/apply:os.system ['true']\n", "valid YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SuiteError, match=message) as caught:
        load_suite(str(path))
    assert "\n" not in str(caught.value)


def test_an_unknown_suite_comes_with_the_nearest() -> None:
    with pytest.raises(SuiteError, match="frozen"):
        load_suite("frozn")
    with pytest.raises(SuiteError, match="no such file"):
        load_suite("absent.yaml")


def test_cards_resolve_paths_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.pth").touch()
    path = write(
        tmp_path,
        "models:\n- {name: a, checkpoint: a.pth, arch: resnet18, preprocess: ['mean=0.5']}\n"
        "- {name: b, checkpoint: 'random:resnet18', method: MAE, pretraining_data: IN1K, epochs: 800, licence: CC,\n"
        "   link: l, weights: w}\n",
    )
    first, second = load_cards(path)
    assert first.checkpoint == str(tmp_path / "a.pth")
    assert first.preprocess == ("mean=0.5",)
    assert second.checkpoint == "random:resnet18"
    facts = (second.method, second.pretraining_data, second.epochs, second.licence, second.link)
    assert (*facts, second.weights) == ("MAE", "IN1K", 800, "CC", "l", "w")


def test_cards_with_one_name_twice_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "models:\n- {name: a, checkpoint: x}\n- {name: a, checkpoint: y}\n")
    with pytest.raises(SuiteError, match="a twice"):
        load_cards(path)
