from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from benchmark.data import source
from benchmark.data.dataset import Dataset
from benchmark.data.options import Options
from benchmark.data.source import Source, SourceSpec, list_sources, open_source, parse_source
from benchmark.errors import DataError


@pytest.mark.parametrize(
    ("text", "kind", "rest", "options"),
    [
        ("folder:/data/x", "folder", "/data/x", {}),
        ("scenes:", "scenes", "", {}),
        ("scenes:?classes=5&seed=1", "scenes", "", {"classes": "5", "seed": "1"}),
        ("wds:a-?.tar", "wds", "a-?.tar", {}),
        ("wds:a-?.tar?label=json", "wds", "a-?.tar", {"label": "json"}),
        ("parquet:?train=a?.parquet&test=b?.parquet", "parquet", "", {"train": "a?.parquet", "test": "b?.parquet"}),
        ("hf:org/name/config?label=a%26b", "hf", "org/name/config", {"label": "a&b"}),
        ("folder:C:/x y", "folder", "C:/x y", {}),
    ],
)
def test_a_source_is_taken_apart_as_written(text: str, kind: str, rest: str, options: dict[str, str]) -> None:
    spec = parse_source(text)
    assert (spec.kind, spec.rest, dict(spec.options), spec.text) == (kind, rest, options, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("/data/x", "folder:/data/x"),
        ("scene:", "did you mean scenes?"),
        ("scenes:?clases=3", "did you mean classes?"),
        ("scenes:?clases=3", "valid options: classes, train"),
        ("scenes:?classes=many", "classes='many'"),
        ("scenes:?difficulty=2", "difficulty='2'"),
        ("scenes:?classes=3&classes=4", "given twice"),
        ("scenes:?classes=3&seed", "without a value"),
        ("scenes:?train=3", "at least one image per class"),
        ("scenes:here", "nothing but options"),
        ("folder:x?shuffle=1", "valid options: train, val, test, split, seed"),
    ],
)
def test_a_wrong_source_is_refused_in_one_line_that_helps(text: str, says: str) -> None:
    with pytest.raises(DataError) as refusal:
        open_source("x", text)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_every_installed_source_is_listed_with_its_options() -> None:
    listed = {info.kind: info for info in list_sources()}
    assert {"folder", "parquet", "wds", "hf", "scenes"} <= set(listed)
    assert listed["scenes"].options["classes"] == "10"
    assert all(info.summary and info.missing is None for info in listed.values())


def test_another_package_adds_a_source_through_the_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(Options):
        shout: bool = False

    seen: list[tuple[str, str, Mine]] = []
    scenes = open_source("s", "scenes:?classes=2&train=2&test=2")

    def open_mine(name: str, spec: SourceSpec, options: Mine) -> Dataset:
        seen.append((name, spec.rest, options))
        return scenes

    point = EntryPoint("mine", "somewhere:MINE", source.GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda self: Source("mine:X", "mine", Mine, open_mine))
    monkeypatch.setattr(source, "entry_points", lambda group: [point])
    assert open_source("theirs", "mine:abc?shout=true") is scenes
    assert seen == [("theirs", "abc", Mine(shout=True))]
