"""Peak memory of an extraction against one of ten times as many images."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator

from tests.perf.registry import Row, Setting, benchmark

_CODE = """
import resource, sys
from pathlib import Path
from benchmark.backbones.execution import plan_execution
from benchmark.backbones.sources import open_backbone
from benchmark.data.source import open_source
from benchmark.features.extract import extract
from benchmark.features.store import FeatureStore
count, cache, device = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
backbone = open_backbone("random:test_resnet", preprocess=("size=64", "crop_pct=1"), execution=plan_execution(device))
split = open_source("s", f"scenes:?train={count}&test=10&size=64").splits["train"]
extract(backbone, split, ["gap"], FeatureStore(cache), batch_size=64, workers=2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak_mb(count: int, device: str) -> float:
    """Peak resident memory, in MB, of a process that extracts `count` images."""
    with tempfile.TemporaryDirectory() as cache:
        arguments = [sys.executable, "-c", _CODE, str(count), cache, device]
        return float(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


@benchmark("memory")
def memory(setting: Setting) -> Iterator[Row]:
    """Ours is the longer extraction, the peer the shorter one."""
    count = 256 if setting.quick else 2048
    few, many = (peak_mb(images, str(setting.device)) for images in (count, 10 * count))
    yield Row.at_most("peak memory, ten times the images", many, few, 1.05, unit="MB", images=count, more=10 * count)
