"""Writing a site: a folder of static files that opens from a disk, a web server or a CI artefact alike."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import RequestError
from leaderboard.published.match import beside
from leaderboard.site.assets import assets
from leaderboard.site.board import Board, make_board
from leaderboard.site.others import published_beside
from leaderboard.site.pages import Pages, environment
from leaderboard.site.payload import board_payload, pairs_payload, script_json
from leaderboard.tables import Entry

MARK = ".transferbench-site"
"""A file that says that a folder is a site of ours, so that it may be replaced."""


@dataclass(frozen=True)
class Site:
    """What was written."""

    folder: Path
    board: Board
    pages: int

    @property
    def index(self) -> Path:
        """The page to open."""
        return self.folder / "index.html"


def build_site(
    entries: Sequence[Entry],
    folder: Path,
    title: str = "Transferbench",
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Site:
    """Builds the site beside `folder` and puts it in its place when it is whole.

    Args:
        entries: results to show.
        folder: a new one, an empty one, or an earlier site.
        title: of its pages.
        progress: `progress(done, total, what)`, drives a bar.

    Raises:
        RequestError: the folder holds something else.
        ResultError: nothing to show.
        OSError: it cannot be written.
    """
    _check_folder(folder)
    progress(0, 1, "paired tests")
    board = make_board(entries, title)
    published = published_beside(board)
    pages = Pages(board, beside(board.entries), bool(published), environment())
    total = 4 + len(board.columns) + len(board.models)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        made = Path(scratch) / "site"
        for name in ("assets", "data", "models", "tasks"):
            (made / name).mkdir(parents=True)
        for name, content in assets().items():
            (made / "assets" / name).write_bytes(content)
        payload = script_json(board_payload(board, published))
        (made / "data" / "board.js").write_text(f"window.BOARD = {payload};\n", encoding="utf-8")
        pairs = script_json(pairs_payload(board))
        (made / "data" / "pairs.js").write_text(f"window.PAIRS = {pairs};\n", encoding="utf-8")
        for done, (name, text) in enumerate(pages.all()):
            (made / name).write_text(text, encoding="utf-8")
            progress(done + 1, total, "pages")
        (made / MARK).write_text("made by transferbench; replaced as a whole when it is made again\n")
        _put_in_place(made, folder, Path(scratch) / "old")
    return Site(folder, board, total)


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RequestError("a folder for the site", f"{folder} is a file", "choose another --out")
    if any(folder.iterdir()) and not (folder / MARK).is_file():
        raise RequestError(
            "a new folder, an empty one or an earlier site", f"{folder} holds other files", "choose another --out"
        )


def _put_in_place(made: Path, folder: Path, old: Path) -> None:
    """Two renames: a reader finds the old site or the new one."""
    made.chmod(0o755)
    if folder.exists():
        shutil.move(folder, old)
    shutil.move(made, folder)
