"""What is written where, and what is never overwritten."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmark.errors import RequestError, ResultError
from leaderboard.groups import fact_of
from leaderboard.pairwise import compare_all
from leaderboard.site.board import make_board
from leaderboard.site.build import MARK, Site, build_site
from leaderboard.site.pages import without_folders
from leaderboard.site.payload import pairs_payload, script_json
from leaderboard.tables import long_table, read_entries
from tests.command import CommandLine
from tests.leaderboard.stores import store_result


def payload(site: Site, name: str) -> dict:
    text = (site.folder / "data" / f"{name}.js").read_text(encoding="utf-8")
    found = re.fullmatch(rf"window\.{name.upper()} = (.*);\n", text, flags=re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_table_holds_the_stored_figures(small: Site) -> None:
    board = payload(small, "board")
    wanted = long_table(small.board.entries)
    wanted = wanted[wanted["headline"]]
    assert len(wanted) == 11
    for _, row in wanted.iterrows():
        (index,) = [i for i, c in enumerate(board["columns"]) if c["dataset"] == row["dataset"]]
        (shown,) = [r for r in board["rows"] if r["name"] == row["model"]]
        value, low, high = shown["cells"][index][:3]
        assert (value, low, high) == pytest.approx((row["value"], row["ci_low"], row["ci_high"]), abs=1e-4)
    (poor,) = [row for row in board["rows"] if row["name"] == "poor"]
    assert sum(cell is None for cell in poor["cells"]) == 1


def test_pairs_are_in_the_order_that_the_page_reads(small: Site) -> None:
    """i < j, row by row: the place of a pair among those of n is i n - i (i + 1) / 2 + j - i - 1."""
    found = payload(small, "pairs")["columns"]
    for column, shown in zip(small.board.columns, found, strict=True):
        pairs = compare_all(column.column)
        n = len(pairs.models)
        assert [small.board.models[row].name for row in shown["rows"]] == list(pairs.models)
        for i in range(n):
            for j in range(i + 1, n):
                place = i * n - i * (i + 1) // 2 + j - i - 1
                assert shown["p"][place] == pytest.approx(pairs.p_value[i, j], rel=0.06)
                assert shown["half"][place] == pytest.approx(pairs.half[i, j], abs=1e-3)


def test_every_link_leads_somewhere(small: Site) -> None:
    from urllib.parse import unquote

    checked = 0
    for page in small.folder.rglob("*.html"):
        for link in re.findall(r'(?:href|src)="([^"]+)"', page.read_text(encoding="utf-8")):
            if not link.startswith(("http", "data:")):
                assert (page.parent / unquote(link)).is_file(), (page, link)
                checked += 1
    assert checked > 100
    for entry in [*payload(small, "board")["columns"], *payload(small, "board")["rows"]]:
        assert (small.folder / unquote(entry["page"])).is_file()


def test_nothing_in_a_name_becomes_markup(small: Site) -> None:
    for page in [*small.folder.rglob("*.html"), *(small.folder / "data").iterdir()]:
        text = page.read_text(encoding="utf-8")
        assert "<script>alert" not in text and "<b>dine" not in text
    assert script_json({"a": "</script><!--\u2028"}) == '{"a":"\\u003c/script\\u003e\\u003c!--\\u2028"}'


def test_a_large_board_tests_only_the_best_of_each_column_and_says_so(tmp_path: Path) -> None:
    for index in range(5):
        store_result(tmp_path, f"m{index}", 0.5 + index / 20)
    board = make_board(read_entries([tmp_path]), "t", tested=3)
    assert board.untested and board.columns[0].pairs.models == ("m4", "m3", "m2")
    assert len(pairs_payload(board)["columns"][0]["p"]) == 3
    assert not make_board(read_entries([tmp_path]), "t").untested


def test_facts_that_a_card_does_not_say_are_not_made_up(small: Site) -> None:
    record = small.board.models[0].record
    assert fact_of(record, "epochs") == "not said" and fact_of(record, "architecture") == "resnet50"
    tagged = record.model_copy(update={"arch": "vit_base_patch16_224.augreg_in1k?img_size=384"})
    assert fact_of(tagged, "architecture") == "vit_base_patch16_224"


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, cli: CommandLine) -> None:
    store_result(tmp_path / "runs", "m", 0.5)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    found = cli("leaderboard", tmp_path / "runs", "--out", mine)
    assert found.code == 2 and "holds other files" in found.err and found.err.count("\n") == 1
    assert (mine / "thesis.tex").read_text() == "years of work"
    with pytest.raises(RequestError, match="is a file"):
        build_site(read_entries([tmp_path / "runs"]), mine / "thesis.tex")


def test_an_earlier_site_is_replaced_as_a_whole(tmp_path: Path, cli: CommandLine) -> None:
    store_result(tmp_path / "runs", "old", 0.5)
    assert cli("leaderboard", tmp_path / "runs", "--out", tmp_path / "site").code == 0
    assert (tmp_path / "site/models/old.html").is_file()
    store_result(tmp_path / "others", "new", 0.5)
    assert cli("leaderboard", tmp_path / "others", "--out", tmp_path / "site").code == 0
    assert (tmp_path / "site" / MARK).is_file() and not (tmp_path / "site/models/old.html").exists()
    assert (
        sorted(path.name for path in tmp_path.iterdir()) == ["cache", "others", "runs", "site"]
        or not (tmp_path / "cache").exists()
    )


@pytest.mark.parametrize("folder", ["nothing", "empty"])
def test_a_board_of_nothing_is_refused_in_one_line(folder: str, tmp_path: Path, cli: CommandLine) -> None:
    (tmp_path / "empty").mkdir()
    found = cli("leaderboard", tmp_path / folder, "--out", tmp_path / "site")
    assert found.code == 2 and "a folder of results" in found.err and found.err.count("\n") == 1
    assert not (tmp_path / "site").exists()


def test_a_board_where_everything_failed_is_refused(tmp_path: Path) -> None:
    result = store_result(tmp_path, "m", 0.5)
    failed = {"kind": "E", "message": "m", "traceback": "t"}
    raw = {**result.model_dump(), "status": "failed", "metrics": (), "error": failed}
    entry = read_entries([tmp_path])[0]
    broken = type(entry)(entry.root, type(result).model_validate(raw))
    with pytest.raises(ResultError, match="a finished result"):
        make_board([broken], "t")


def test_an_edited_headline_is_never_shown(tmp_path: Path, cli: CommandLine) -> None:
    store_result(tmp_path / "runs", "m", 0.5)
    (path,) = (tmp_path / "runs").glob("results/m/**/*.json")
    path.write_text(path.read_text().replace('"value": 50.0', '"value": 59.0', 1))
    found = cli("leaderboard", tmp_path / "runs", "--out", tmp_path / "site")
    assert found.code == 2 and "50.0000; found 59.0000 stored" in found.err and found.err.count("\n") == 1
    assert not (tmp_path / "site").exists()


def test_folders_of_a_disk_are_not_published() -> None:
    assert without_folders("/home/me/runs/vit.pth") == "…/vit.pth"
    assert without_folders("folder:/home/me/pets?split=0.2") == "folder:…/pets?split=0.2"
    assert without_folders("coco:/a/b/images,/a/b/ann.json") == "coco:…/images,…/ann.json"
    assert without_folders("hf:org/name") == "hf:org/name" and without_folders("scenes:") == "scenes:"
    assert without_folders("timm:vit_base_patch16_224.augreg") == "timm:vit_base_patch16_224.augreg"
    assert without_folders("runs/vit.pth") == "runs/vit.pth"
