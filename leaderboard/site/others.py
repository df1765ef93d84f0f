"""Published figures that belong into the board's columns, whoever's weights they are of."""

from __future__ import annotations

from leaderboard.published.mapping import Target, published_map
from leaderboard.published.match import differences
from leaderboard.published.rows import PublishedRow, published_rows
from leaderboard.site.board import Board

Key = tuple[str, str | None, str | None]


def published_beside(board: Board) -> list[tuple[PublishedRow, dict[int, float]]]:
    """Figures by released weights: (a row that stands for them, figure by the index of its column).

    Suspect figures are left out: a table is no place for a number that nobody should use. Where several sources print
    one figure of the same weights, the one whose cell was checked counts, then the first.
    """
    mapping = published_map()
    names = {column.example.data.name for column in board.columns}
    found: dict[Key, tuple[PublishedRow, dict[int, float]]] = {}
    ranked = sorted(published_rows(), key=lambda row: row.confidence != "cell-checked")
    for row in ranked:
        if row.suspect or row.dataset not in names:
            continue
        target = mapping.resolve(row)
        if not isinstance(target, Target):
            continue
        for index, column in enumerate(board.columns):
            if column.column.metric != target.metric or column.example.protocol.name != target.protocol:
                continue
            # One model fed as the source was is enough: others of the column may see another size or crop.
            if any(not differences(cells[0].result, target) for cells in column.column.cells.values()):
                key = (row.method, row.arch, row.weights)
                found.setdefault(key, (row, {}))[1].setdefault(index, float(row.value))
    return list(found.values())
