"""What a user asked for, typed: the command line and programs build it, the planner reads it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmark.errors import RequestError
from benchmark.features.filling import OnBadImage
from benchmark.suites.cards import ModelCard, load_cards

Overwrite = Literal["never", "failed", "always"]


def default_cache() -> Path:
    """`$TRANSFERBENCH_CACHE`, or `transferbench` in the user's cache folder."""
    chosen = os.environ.get("TRANSFERBENCH_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transferbench"


@dataclass(frozen=True)
class RunRequest:
    """One `run`.

    Attributes:
        models: the checkpoints.
        suite: a shipped suite's name or the path of a YAML file.
        data: dataset name -> source; replaces the suite's datasets when not empty.
        tasks: restricts the suite to these tasks when not empty.
        seeds: replaces the suite's seeds when not empty.
        settings: `task.key=value` overrides.
        out, cache: the output folder and the feature cache.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision, compile: of the forward pass; see `backbones.execution`.
        overwrite: which stored cells are made again.
        on_bad_image: `stop` or `skip`.
        batch_size, workers: speed only; figures do not depend on them.
    """

    models: tuple[ModelCard, ...]
    suite: str = "frozen"
    data: dict[str, str] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    settings: tuple[str, ...] = ()
    out: Path = Path("runs")
    cache: Path = field(default_factory=default_cache)
    device: str = "auto"
    precision: str | None = None
    compile: bool = False
    overwrite: Overwrite = "never"
    on_bad_image: OnBadImage = "stop"
    batch_size: int = 64
    workers: int | None = None


def model_cards(
    checkpoint: str | None,
    models: Path | None,
    name: str | None,
    arch: str | None,
    layout: str | None,
    key: str | None,
    preprocess: Sequence[str],
) -> tuple[ModelCard, ...]:
    """The models of a request: one checkpoint with its options, or a cards file without any.

    Raises:
        RequestError: neither, both, or options of one checkpoint beside a cards file.
    """
    options = {"--name": name, "--arch": arch, "--layout": layout, "--key": key, "--preprocess": tuple(preprocess)}
    if models is not None:
        extra = [flag for flag, value in {"--checkpoint": checkpoint, **options}.items() if value]
        if extra:
            raise RequestError("--models alone", f"--models with {', '.join(extra)}", "put them into the cards file")
        return load_cards(models)
    if checkpoint is None:
        raise RequestError("--checkpoint SPEC or --models cards.yaml", "neither", "see run --help")
    return (
        ModelCard(
            name=name or default_name(checkpoint),
            checkpoint=checkpoint,
            arch=arch,
            layout=layout,
            key=key,
            preprocess=tuple(preprocess),
        ),
    )


def default_name(checkpoint: str) -> str:
    """A model's name from its SPEC: a file's name without its last suffix, or the SPEC itself."""
    if Path(checkpoint).suffix and ":" not in checkpoint.split("/")[0]:
        return Path(checkpoint).stem
    return checkpoint


def datasets_of(data: Sequence[str], shifts: Sequence[str]) -> dict[str, str]:
    """The datasets of a request: those of `--data` and the pairs of `--shift`.

    Raises:
        RequestError: an item that is malformed, or a name that both have.
    """
    single, pairs = parse_data(data), parse_shifts(shifts)
    for name in pairs:
        if name in single:
            raise RequestError("each dataset name once", f"{name!r} in --data and --shift", "rename one")
    return {**single, **pairs}


def parse_data(items: Sequence[str]) -> dict[str, str]:
    """`NAME=SOURCE` items as a mapping.

    Raises:
        RequestError: an item without a name, or a name twice.
    """
    parsed: dict[str, str] = {}
    for item in items:
        name, equals, source = item.partition("=")
        if not equals or not name or ":" in name or not source:
            raise RequestError("--data NAME=SOURCE", repr(item), "for example --data pets=folder:/data/pets")
        if name in parsed:
            raise RequestError("each dataset name once", f"{name!r} twice", "rename one")
        parsed[name] = source
    return parsed


def parse_shifts(items: Sequence[str]) -> dict[str, str]:
    """`clean=SOURCE NAME=SOURCE ...` as datasets: a pair of the clean source with each of the others, by its name.

    `NAME:map=FILE` and `NAME:labels=real` are options of the pair of that name.

    Raises:
        RequestError: no clean source or nothing beside it, a name twice, or an option of a name that is not there.
    """
    sources: dict[str, str] = {}
    options: dict[str, list[str]] = {}
    usage = "for example --shift clean=folder:photos sketches=folder:sketches sketches:map=FILE.yaml"
    for item in items:
        left, equals, right = item.partition("=")
        name, colon, option = left.partition(":")
        if not equals or not name or not right or (colon and not option):
            raise RequestError("--shift clean=SOURCE NAME=SOURCE", repr(item), usage)
        if colon:
            options.setdefault(name, []).append(f"{option}={_quoted(right)}")
        elif name in sources:
            raise RequestError("each name once", f"{name!r} twice", "rename one")
        else:
            sources[name] = right
    if not items:
        return {}
    if "clean" not in sources or len(sources) < 2:
        raise RequestError("--shift clean=SOURCE and another NAME=SOURCE", f"{', '.join(sources) or 'neither'}", usage)
    clean = sources.pop("clean")
    for name in options:
        if name not in sources:
            raise RequestError(f"an option of {', '.join(sources)}", f"{name}:{options[name][0]}", usage)
    return {
        name: "&".join([f"shift:?clean={_quoted(clean)}", f"shifted={_quoted(source)}", *options.get(name, [])])
        for name, source in sources.items()
    }


def _quoted(text: str) -> str:
    """As a value of an option of a source."""
    return text.replace("%", "%25").replace("&", "%26")


def parse_seeds(text: str | None) -> tuple[int, ...]:
    """`0,1,2` as integers; empty without a text.

    Raises:
        RequestError: not distinct integers from 0 up.
    """
    if text is None:
        return ()
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts) or len(set(parts)) != len(parts):
        raise RequestError("--seeds as distinct integers from 0 up", repr(text), "for example --seeds 0,1,2")
    return tuple(int(part) for part in parts)
