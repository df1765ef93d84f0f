"""mmcv looks for its operators when it is imported, which the test modules do."""

from importlib.util import find_spec

from tasks.openmmlab import ops

if find_spec("mmcv") is not None:
    ops.provide()
