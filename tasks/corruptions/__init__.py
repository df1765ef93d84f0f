"""The image corruptions of ImageNet-C as operators on batches of uint8 images, on any device and at any size.

`corrupt` is the way in; `registry` has the fifteen corruptions and the extra four. A room per group (`noise`, `blur`,
`weather` with `frost`, `digital` with `colour`, `spatter`) holds the operators, which take random fields as arguments;
`draws` makes those fields, one stream for each image.
"""

from tasks.corruptions.corrupt import corrupt
from tasks.corruptions.draws import digests
from tasks.corruptions.registry import CORRUPTIONS, EXTRA, NAMES

__all__ = ["CORRUPTIONS", "EXTRA", "NAMES", "corrupt", "digests"]
