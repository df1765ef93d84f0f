"""Which images of a split cannot be decoded, found before anything is learned from the others."""

from __future__ import annotations

from collections.abc import Callable

from torch.utils.data import Dataset as TorchDataset

from benchmark.data.dataset import ImageReader
from benchmark.errors import DataError
from benchmark.features.workers import decoded, default_workers

_BATCH = 32


class _Verdicts(TorchDataset[str]):
    """What a worker does: decode an image and say why it cannot."""

    def __init__(self, reader: ImageReader) -> None:
        self.reader = reader

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> str:
        try:
            self.reader.read(index)
        except DataError as error:
            return error.found
        return ""


def unreadable(
    reader: ImageReader,
    workers: int | None,
    what: str = "",
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> dict[int, str]:
    """Position -> why, for the images that cannot be decoded. Every image is decoded once.

    Args:
        reader: the images.
        workers: decoding processes; one per core when None.
        what: is handed on to `progress`.
        progress: called with images done, images in all, `what`.
    """
    count = default_workers() if workers is None else workers
    bad: dict[int, str] = {}
    done = 0
    busy = count if len(reader) >= 2 * _BATCH else 0
    for verdicts in decoded(_Verdicts(reader), busy, batch_size=_BATCH, collate_fn=list):
        bad |= {done + place: why for place, why in enumerate(verdicts) if why}
        done += len(verdicts)
        progress(done, len(reader), what)
    return bad
