"""Reading a YAML document into a typed model, with errors that name the file, the key and the nearest valid key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from benchmark.errors import SuiteError, nearest

Document = TypeVar("Document", bound=BaseModel)


def read_yaml(path: Path) -> Any:
    """The parsed content of a YAML file.

    Raises:
        SuiteError: missing, not text, or not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError("a readable YAML file", f"{path}: {error}", "check the path") from error
    except yaml.YAMLError as error:
        raise SuiteError("valid YAML", f"{path}: {error}", "mend the file") from error


def parse(model: type[Document], content: Any, where: str) -> Document:
    """`content` as `model`.

    Raises:
        SuiteError: the first thing wrong with it; an unknown key comes with the nearest valid one.
    """
    if not isinstance(content, dict):
        raise SuiteError("a mapping of keys to values", f"{where}: {type(content).__name__}", "see the shipped suites")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        location = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            owner = _owner(model, problem["loc"][:-1])
            hint = nearest(str(problem["loc"][-1]), owner.model_fields)
            raise SuiteError("known keys", f"{where}: {location}", hint) from error
        raise SuiteError("a valid value", f"{where}: {location}: {problem['msg']}", "mend the file") from error


def _owner(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    """The model class that a nested error location lies in."""
    for part in location:
        if isinstance(part, int) or part not in model.model_fields:
            continue
        for candidate in _classes(model.model_fields[part].annotation):
            model = candidate
    return model


def _classes(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in getattr(annotation, "__args__", ()) for found in _classes(inner)]
