"""What a dense task was asked and what it answered, drawn on the images: for people, who see at once what drifted.

`answers` reads a result and its data again · `colours` and `panels` draw masks and boxes · `sheet` puts them on a page.
Nothing here computes a figure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from benchmark.show.answers import asked_of, chosen_results
from benchmark.show.sheet import sheet_of


def show(
    folder: Path,
    task: Literal["segmentation", "detection"],
    n: int = 8,
    out: Path | None = None,
    model: str | None = None,
    score: float = 0.3,
) -> list[Path]:
    """Draws the results of a task: a picture for each, target beside prediction on the image.

    Args:
        folder: an output folder of a run.
        task: which.
        n: images per result: the first in the order of a digest of their ids, so the same ones for every model.
        out: where the pictures go; None for `pictures` in the output folder.
        model: only this one's results.
        score: detections below it are left out.

    Returns:
        The pictures' paths.

    Raises:
        ResultError: no such result, or predictions that cannot be drawn.
        DataError: the data cannot be read, or is not what the result was made with.
    """
    place = out or folder / "pictures"
    place.mkdir(parents=True, exist_ok=True)
    paths = []
    for path, result in chosen_results(folder, task, model):
        picture = place / f"{path.parent.parent.name}--{path.stem}.png"
        sheet_of(asked_of(folder, result, n, score)).save(picture)
        paths.append(picture)
    return paths
