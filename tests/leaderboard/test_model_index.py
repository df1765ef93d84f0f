"""The metadata is what the Hub's own library reads, and a card keeps everything else that it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.repocard_data import model_index_to_eval_results

from benchmark.errors import RequestError, ResultError
from leaderboard.model_index import TASK_TYPES, front_matter, into_card, model_index, read_model, write_card
from tests.command import CommandLine
from tests.leaderboard.submissions.sending import edit, fewshot_table, nmc_table, send


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One model on two tasks and two datasets, one of them from the Hub."""
    root = tmp_path / "runs"
    send(root, "vit", nmc_table(0.8))
    send(root, "vit", fewshot_table(), seed=0)
    send(root, "vit", fewshot_table(), seed=1)
    send(root, "vit", nmc_table(0.7), data_name="birds", data_source="hf:org/birds/small?revision=abc&image=img")
    return root


def evaluations(text: str) -> dict[tuple[str, str | None], EvalResult]:
    """What the Hub's library reads in a card."""
    data = ModelCard(text).data
    assert isinstance(data, ModelCardData) and data.model_name == "vit"
    return {(one.dataset_name, one.metric_name): one for one in data.eval_results or ()}


def ours(one: EvalResult) -> dict[str, Any]:
    """What this command writes beside a figure."""
    assert one.metric_args is not None
    return one.metric_args["transferbench"]


def test_the_hub_reads_what_was_measured(folder: Path) -> None:
    text = into_card("# A model\n", model_index(read_model(str(folder)), "https://example.org/board"), "README.md")
    found = evaluations(text)
    nmc = found["pets", "top1, nmc, nmc/cosine v1"]
    assert (nmc.task_type, nmc.metric_type, nmc.metric_value) == ("image-classification", "accuracy", 80.0)
    assert (nmc.dataset_type, nmc.dataset_split, nmc.dataset_revision) == ("pets", "test", None)
    assert (nmc.source_name, nmc.source_url) == ("Transferbench", "https://example.org/board")
    assert nmc.verified is None and ours(nmc)["n"] == 200
    few = found["pets", "top1 (5way-1shot), fewshot, fewshot/proto v1"]
    assert ours(few)["seeds"] == [0, 1]
    birds = found["birds", "top1, nmc, nmc/cosine v1"]
    assert (birds.dataset_type, birds.dataset_config, birds.dataset_revision) == ("org/birds", "small", "abc")
    assert birds.metric_value == 70.0 and len(found) == 3
    assert text.endswith("---\n# A model\n")


def test_the_hub_s_library_loses_nothing_on_the_way_round(folder: Path) -> None:
    text = into_card("", model_index(read_model(str(folder))), "README.md")
    again = str(ModelCard(str(ModelCard(text))))
    assert evaluations(again) == evaluations(text)
    assert model_index_to_eval_results(
        yaml.safe_load(front_matter(model_index(read_model(str(folder)))))["model-index"]
    )


CARD = """---
# licence agreed with the lab
license: apache-2.0
language: no  # Norwegian
model-index:
- name: vit
  results:
  - task: {type: image-classification}
    dataset: {type: imagenet-1k, name: ImageNet}
    metrics:
    - {type: accuracy, value: 81.2, verified: true, verifyToken: abc}
# tags of the Hub
tags:
- timm
---
# ViT

--- not front matter ---
model-index: in the text
"""


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_the_rest_of_a_card_stays_to_the_byte(folder: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(CARD.replace("\n", ending).encode())
    write_card(path, model_index(read_model(str(folder))))
    first = path.read_bytes()
    before, after = CARD.replace("\n", ending).encode().split(b"model-index:", 1)
    assert first.startswith(before + b"model-index:")
    assert first.endswith(after[after.index(b"# tags of the Hub") :])
    found = evaluations(first.decode())
    assert len(found) == 4 and found["ImageNet", None].verify_token == "abc"
    write_card(path, model_index(read_model(str(folder))))
    assert path.read_bytes() == first  # nothing twice


def test_new_figures_replace_the_old_ones_of_ours_only(folder: Path) -> None:
    text = into_card(CARD, model_index(read_model(str(folder))), "README.md")
    send(folder, "vit", nmc_table(0.9))
    found = evaluations(into_card(text, model_index(read_model(str(folder))), "README.md"))
    assert len(found) == 4
    assert found["pets", "top1, nmc, nmc/cosine v1"].metric_value == 90.0
    assert found["ImageNet", None].metric_value == 81.2


@pytest.mark.parametrize(
    "front",
    [
        "license: mit",
        "license: mit\n",
        "# only a comment",
        "model-index: []\nlicense: mit",
        "model-index:\nlicense: mit",
        "license: mit\nmodel-index: []",
    ],
)
def test_front_matter_of_any_form_is_kept(folder: Path, front: str) -> None:
    text = into_card(f"---\n{front}\n---\nText\n", model_index(read_model(str(folder))), "README.md")
    assert len(evaluations(text)) == 3 and text.endswith("---\nText\n")
    assert ("license: mit" in text) == ("license" in front)


@pytest.mark.parametrize("front", ["{license: mit}", "- a", "a: [", "model-index: 3", "model-index:\n- a: b"])
def test_front_matter_that_cannot_be_kept_is_refused(folder: Path, front: str) -> None:
    with pytest.raises(RequestError, match=r"README\.md"):
        into_card(f"---\n{front}\n---\n", model_index(read_model(str(folder))), "README.md")


def test_every_scorer_has_a_task_of_the_hub() -> None:
    from benchmark.metrics import registry

    assert {name for name, _ in registry._SCORERS} <= set(TASK_TYPES)


def test_an_edited_figure_is_not_published(folder: Path, cli: CommandLine, tmp_path: Path) -> None:
    assert "model-index:" in cli("card", folder).out
    assert cli("card", f"{folder}:vit", "--output", tmp_path / "README.md").code == 0
    assert len(evaluations((tmp_path / "README.md").read_text())) == 3
    edit(folder / "results" / "vit" / "nmc" / "pets--nmc-cosine--s0.json",
         lambda raw: raw["metrics"][0].update(value=99.0))  # fmt: skip
    found = cli("card", folder, "--output", tmp_path / "README.md")
    assert found.code == 2 and "figures that their predictions give" in found.err
    with pytest.raises(ResultError, match="finished"):
        model_index([])


def test_names_are_data_in_the_yaml(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>: 'x' # \n---"
    send(tmp_path / "runs", name, nmc_table(0.8))
    data = ModelCard(into_card("", model_index(read_model(str(tmp_path / "runs"))), "README.md")).data
    assert isinstance(data, ModelCardData) and data.model_name == name
