"""The pages in a real browser: they work from the disk, and nothing goes wrong or out."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from leaderboard.site.build import Site, build_site
from leaderboard.tables import Entry, read_entries
from tests.leaderboard.charts.tables import STORES
from tests.leaderboard.site.conftest import SCORES, Visit
from tests.leaderboard.stores import store_result
from tests.results.examples import example_result


def names(page: Page) -> list[str]:
    return page.locator("#board tbody tr td:first-child").all_inner_texts()


def board(visit: Visit, site: Site, fragment: str = "") -> Page:
    return visit.open(site.index, fragment, "board")


def test_a_click_on_a_heading_sorts_and_the_address_keeps_it(visit: Visit, small: Site) -> None:
    page = board(visit, small)
    assert sorted(names(page)) == sorted(SCORES)
    heading = page.locator("#board thead th").filter(has_text="cars").locator(".dt-column-order")
    heading.click()
    assert names(page) == ["good", "fair", "<script>alert(1)</script>", "poor"]  # the best first
    heading.click()
    assert names(page) == ["poor", "<script>alert(1)</script>", "fair", "good"]
    again = board(visit, small, page.url.partition("#")[2])
    assert names(again) == names(page)


def test_models_without_a_figure_come_last_in_either_direction(visit: Visit, small: Site) -> None:
    page = board(visit, small)
    heading = page.locator("#board thead th").filter(has_text="wine").locator(".dt-column-order")
    for _ in range(2):
        heading.click()
        assert names(page)[-1] == "poor"


def test_search_and_filters_narrow_rows_and_columns(visit: Visit, small: Site) -> None:
    page = board(visit, small)
    page.fill(".toolbar input[type=search]", "fa")
    assert names(page) == ["fair"]
    page.fill(".toolbar input[type=search]", "")
    assert len(names(page)) == 4
    page.select_option(".toolbar select[name=dataset]", "pets")
    assert page.locator("#board thead th.score").filter(has_text="top1").count() == 1
    assert "dataset=pets" in page.url
    again = board(visit, small, page.url.partition("#")[2])
    assert again.locator("#board thead th.score").filter(has_text="top1").count() == 1
    again.click("#reset")
    again.wait_for_function("document.querySelectorAll('#board thead th.score').length > 2")


def test_columns_are_chosen_and_kept_in_the_address(visit: Visit, small: Site) -> None:
    page = board(visit, small)
    before = page.locator("#board thead th").count()
    page.click("details.columns summary")
    page.locator("details.columns label").filter(has_text="cars").locator("input").uncheck()
    assert page.locator("#board thead th").count() == before - 1
    assert page.locator("#board thead th").filter(has_text="cars").count() == 0
    again = board(visit, small, page.url.partition("#")[2])
    assert again.locator("#board thead th").count() == before - 1


def test_models_are_grouped_by_what_they_share(visit: Visit, small: Site) -> None:
    page = board(visit, small, "group=architecture")
    assert page.locator("#board tr.dtrg-group").all_inner_texts() == ["resnet50 (4)"]


def test_a_name_that_is_a_script_is_shown_as_text(visit: Visit, small: Site) -> None:
    page = board(visit, small)
    page.on("dialog", lambda dialog: visit.trouble.append(f"a script ran: {dialog.message}"))
    row = page.locator("#board tbody tr").filter(has_text="alert(1)")
    assert row.locator("td").first.inner_text() == "<script>alert(1)</script>"
    row.locator("a").first.click()
    page.wait_for_selector("h1")
    assert page.inner_text("h1") == "<script>alert(1)</script>"
    for other in ("compare.html", "ranking.html", "tasks.html"):
        visit.open(small.folder / other).wait_for_timeout(300)


def test_two_models_are_compared_with_their_significance(visit: Visit, small: Site) -> None:
    page = visit.open(small.folder / "compare.html", "m=good|poor", "compare")
    text = page.inner_text("#compared")
    assert "worse" in text and "p < 0.001" in text and "0 / 2" in text
    column = small.board.columns[0]
    pairs = column.pairs
    i, j = pairs.models.index("good"), pairs.models.index("poor")
    assert f"{pairs.delta[j, i]:+.2f} worse" in text and f"±{pairs.half[i, j]:.2f}" in text
    assert "A radar needs three columns" in page.inner_text("#radar")  # poor lacks one of the three
    page.locator("#choice select").nth(1).select_option(label="fair")
    page.locator("#choice select").nth(2).select_option(label="<script>alert(1)</script>")
    assert page.locator("#compared tr").first.locator("th").count() == 4
    assert "fair" in page.url
    page.wait_for_selector("#radar svg.marks")


@pytest.mark.parametrize("name", ["ranking.html", "tasks.html", "models/good.html", "tasks/cars-nmc-top1.html"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_draw_their_pictures_in_either_theme(visit: Visit, small: Site, name: str, theme: str) -> None:
    page = visit.open(small.folder / name)
    if page.evaluate("document.documentElement.dataset.theme") != theme:
        page.click("#theme")
    count = page.locator("script.spec").count()
    page.wait_for_function(f"document.querySelectorAll('.plot svg.marks').length === {count}")
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    ink, paper = page.evaluate(
        "(({color, backgroundColor}) => [color, backgroundColor])(getComputedStyle(document.body))"
    )
    assert ink != paper


@pytest.fixture(scope="module")
def robust(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Two models with a result of every kind of robustness."""
    root = tmp_path_factory.mktemp("robust")
    for make in STORES:
        for model, skill in (("a", 0.9), ("b", 0.6)):
            make(root / "runs", model, skill)
    return build_site(read_entries([root / "runs"]), root / "site")


def test_every_kind_of_robustness_is_drawn_without_complaint(visit: Visit, robust: Site) -> None:
    names = ["models/a.html", *(f"tasks/{column.slug}.html" for column in robust.board.columns)]
    for name in names:
        page = visit.open(robust.folder / name)
        count = page.locator("script.spec").count()
        assert count == (len(STORES) if name.startswith("models") else 2)  # all its charts; the spread and the chart
        page.wait_for_function(f"document.querySelectorAll('.plot svg.marks').length === {count}")
        page.close()
    page = visit.open(robust.folder / "models/a.html")
    page.wait_for_function(f"document.querySelectorAll('.plot svg.marks').length === {len(STORES)}")
    for label in (
        "gaussian noise",
        "all fifteen",
        "AutoAttack",
        "selective risk",
        "patches dropped",
        "nearest neighbours",
    ):
        assert page.locator(".plot svg text").filter(has_text=label).count(), label


def test_no_page_is_wider_than_a_phone(visit: Visit, small: Site) -> None:
    for name in ("index.html", "ranking.html", "compare.html", "tasks.html", "models/good.html"):
        page = visit.open(small.folder / name)
        page.set_viewport_size({"width": 375, "height": 700})
        page.wait_for_timeout(400)
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, name


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """500 models by 60 columns; figures only, since what is tried is the page."""
    root = tmp_path_factory.mktemp("large")
    base = example_result()
    entries = []
    for column in range(60):
        for model in range(500):
            value = 40.0 + (model * 7 + column * 3) % 50
            metric = base.metrics[0].model_copy(update={"value": value, "ci_low": value - 2, "ci_high": value + 2})
            changes = {
                "model": base.model.model_copy(update={"name": f"model {model:03d}", "weights_hash": f"w{model}"}),
                "data": base.data.model_copy(update={"name": f"data{column:02d}"}),
                "metrics": (metric,),
            }
            entries.append(Entry(root, base.model_copy(update=changes)))
    return build_site(entries, root / "site")


@pytest.mark.slow
def test_500_models_by_60_columns_are_shown_a_page_at_a_time(visit: Visit, large: Site) -> None:
    page = board(visit, large)
    assert len(names(page)) == 50  # of a page of the table: the others are no elements yet
    page.locator("#board thead th").filter(has_text="data00").locator(".dt-column-order").click()
    page.fill(".toolbar input[type=search]", "model 49")
    assert len(names(page)) == 15  # 049, 149 ... 449 and 490 to 499


def test_published_rows_look_unlike_measured_ones(visit: Visit, tmp_path: Path) -> None:
    """A k-NN result on what is known to be ImageNet brings the published figures of its protocol with it."""
    result = store_result(tmp_path / "runs", "mine", 0.7, dataset="imagenet-1k", protocol="knn/dino")
    data = result.data.model_copy(
        update={"classes": 1000, "n_train": 1281167, "n_reported": 50000, "reported_split": "val"}
    )
    metric = result.metrics[0].model_copy(update={"name": "top1@k20"})
    model = result.model.model_copy(update={"preprocessing": {"size": [224, 224], "crop_pct": 0.875}})
    changes = {"task": "knn", "model": model, "data": data, "headline": "top1@k20", "metrics": (metric,)}
    entry = read_entries([tmp_path / "runs"])[0]
    changed = Entry(entry.root, result.model_copy(update=changes))
    page = board(visit, build_site([changed], tmp_path / "site"))
    assert page.locator("#board tr.published").count() > 10
    assert page.locator("#board tr:not(.published) td:first-child").first.inner_text() == "mine"
    row = page.locator("#board tr.published").filter(has_text="dino_vits16").first
    assert row.locator(".badge").inner_text() == "published" and "74.50" in row.inner_text()
    page.select_option(".toolbar select[name=origin]", "measured")
    assert names(page) == ["mine"]
