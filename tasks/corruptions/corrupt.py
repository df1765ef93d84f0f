"""A corruption for a batch of images: checked, cut into parts of a size that suits the device, and put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from benchmark.errors import DataError, SuiteError, nearest
from tasks.corruptions.draws import Streams, digests
from tasks.corruptions.registry import CORRUPTIONS

SMALLEST = 32  # pixels a side: `imagecorruptions` asks for as much
_PIXELS = {
    "cpu": 8 * 224**2,
    "cuda": 160 * 224**2,
}  # of a part; its arrays are to stay in the cache, or to keep a GPU busy


def corrupt(images: Tensor, name: str, severity: int, ids: Sequence[str] | Tensor, seed: int = 0) -> Tensor:
    """Corrupted images.

    What becomes of an image depends on its pixels, its id, the corruption, the severity and the seed, and on nothing
    else: neither on the other images of the batch nor on the device.

    Args:
        images: uint8 (B, 3, H, W), RGB, on any device; at least 32 pixels a side.
        name: one of `registry.CORRUPTIONS`.
        severity: 1 to 5.
        ids: of the images, or their `digests`: int64 (B,).
        seed: of the random numbers.

    Returns:
        uint8 (B, 3, H, W) on the device of `images`.

    Raises:
        SuiteError: an unknown corruption or severity.
        DataError: images that are not as said above, or another number of ids.
    """
    if name not in CORRUPTIONS:
        raise SuiteError("the name of a corruption", repr(name), nearest(name, CORRUPTIONS))
    if not isinstance(severity, int) or severity not in (1, 2, 3, 4, 5):
        raise SuiteError("a severity from 1 to 5", f"{severity!r} for {name}", "choose one of 1, 2, 3, 4, 5")
    if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] != 3:
        found = f"{images.dtype} of shape {tuple(images.shape)}"
        raise DataError("images as uint8 (B, 3, H, W)", found, "decode them to RGB, and corrupt before normalising")
    if min(images.shape[2:]) < SMALLEST:
        found = f"{images.shape[2]} x {images.shape[3]}"
        raise DataError(f"images of at least {SMALLEST} pixels a side", found, "resize them before corrupting")
    if len(ids) != len(images):
        raise DataError("an id for each image", f"{len(ids)} ids for {len(images)} images", "give one id per image")
    keys = ids if isinstance(ids, Tensor) else digests(ids)
    if keys.dtype != torch.int64:
        raise DataError("ids as text or int64 digests", str(keys.dtype), "make digests with `digests`")
    result = torch.empty_like(images, memory_format=torch.contiguous_format)

    def do(start: int, stop: int) -> None:
        streams = Streams(keys[start:stop], f"{name}/{severity}", seed, images.device)
        result[start:stop] = CORRUPTIONS[name](images[start:stop].contiguous(), severity, streams)

    _in_parts(do, images)
    return result


def _in_parts(do: Callable[[int, int], None], images: Tensor) -> None:
    """Calls `do` for the first and past the last image of every part; on a CPU, one part on each core.

    A part's operations are short. Threads that wait for one another at the end of each lose more than they win, much
    more on a busy machine, so each part has one thread from its first operation to its last.
    """
    part = max(1, _PIXELS.get(images.device.type, _PIXELS["cuda"]) // (images.shape[2] * images.shape[3]))
    threads = torch.get_num_threads() if images.device.type == "cpu" else 1
    part = max(1, min(part, -(-len(images) // threads)))
    bounds = [(start, min(start + part, len(images))) for start in range(0, len(images), part)]
    if threads == 1 or len(bounds) < 2:
        for start, stop in bounds:
            do(start, stop)
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for done in [pool.submit(do, start, stop) for start, stop in bounds]:
                done.result()
    finally:
        torch.set_num_threads(threads)
