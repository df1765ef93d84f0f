"""What is written down of how a family stores its encoder: the fields of `rules.yaml` and of `families/*.yaml`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from benchmark.checkpoints.change import Pattern
from benchmark.checkpoints.changes import Change

Kind = Literal["counter", "buffer", "head", "projector", "predictor", "decoder", "queue", "loss", "text", "other"]
Resample = Literal["timm", "dino", "dinov2", "dinov2-reg", "mae", "jepa", "vit", "bilinear", "corner", "area"]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rename(_Entry):
    """A substitution in every key; `{next}` in the replacement is the number of the group `index`, plus one."""

    pattern: Pattern
    replace: str

    def apply(self, key: str) -> str:
        """The key under its new name."""
        if "{next}" in self.replace:
            return re.sub(
                self.pattern, lambda m: m.expand(self.replace).replace("{next}", f"{int(m['index']) + 1}"), key
            )
        return re.sub(self.pattern, self.replace, key)


class EntryRule(_Entry):
    """What an entry of a training checkpoint is, when it is no encoder."""

    pattern: Pattern
    reason: str


class Branch(_Entry):
    """A module that wraps or is an encoder; heads under `trained_without_labels` ones are no classifiers."""

    pattern: Pattern
    trained_without_labels: bool = False


class DropRule(_Entry):
    """Tensors that may be left out, with the reason; `beside` a module of that name only, where given."""

    kind: Kind = "other"
    pattern: Pattern
    reason: str
    beside: Pattern | None = None


class Rules(_Entry):
    """The rules for every file."""

    renames: tuple[Rename, ...] = ()
    wrappers: tuple[Pattern, ...] = ()
    entries: tuple[EntryRule, ...] = ()
    branches: tuple[Branch, ...] = ()
    drops: tuple[DropRule, ...] = ()

    def is_wrapper(self, name: str) -> bool:
        """Whether an entry of this name is known to hold weights."""
        return any(re.search(pattern, name) for pattern in self.wrappers)

    def entry(self, name: str) -> str | None:
        """What a known entry without weights is."""
        return next((rule.reason for rule in self.entries if re.search(rule.pattern, name)), None)

    def branch(self, segment: str) -> Branch | None:
        """The rule under which a module of this name is an encoder or a wrapper of one."""
        return next((branch for branch in self.branches if re.search(branch.pattern, segment)), None)

    def drop(self, key: str, beside: Iterable[str] = (), first: Iterable[DropRule] = ()) -> DropRule | None:
        """The rule that lets a tensor of this name (from the encoder's root, or beside it) be left out.

        Args:
            key: the name, relative to the encoder or to the module that holds it.
            beside: the modules next to it.
            first: rules that are asked before the common ones.
        """
        names = tuple(beside)
        for rule in (*first, *self.drops):
            if re.search(rule.pattern, key) and (rule.beside is None or any(re.search(rule.beside, n) for n in names)):
                return rule
        return None


class Recognise(_Entry):
    """What a file of a family has.

    Attributes:
        entries: names of top-level entries, all of which must occur; what the configuration of a folder or the saved
            arguments of a training run say counts among them (`config:model_type=vit`, `args:nb_classes=1000`).
        keys: dotted names of tensors (with the entries that lead to them), all of which must occur.
        absent: names of entries or tensors, none of which may occur.
        certain: names of entries or tensors, all of which must occur for the layout to be taken without being asked
            for; a file without them may be of several families.
        order: pairs of tensors, the first of which lies before the second in the file, for the layout to be taken
            without being asked for: modules that their code makes in another order than everyone else's.
        ambiguous: files of other families have all this too, so that only `--layout` takes it.
        shapes: tensors by name and the shape that one of them has, where names alone do not tell (3 x 3 stems of
            networks for small images); -1 stands for any size, and other negative numbers for one size each: (-2, -2)
            is square.
    """

    entries: tuple[Pattern, ...] = ()
    keys: tuple[Pattern, ...] = ()
    absent: tuple[Pattern, ...] = ()
    certain: tuple[Pattern, ...] = ()
    order: tuple[tuple[Pattern, Pattern], ...] = ()
    ambiguous: bool = False
    shapes: Mapping[Pattern, tuple[int, ...]] = {}

    def matches(self, entries: Iterable[str], keys: Mapping[str, Sequence[int]] | Iterable[str]) -> bool:
        """Whether a file has all that it must and nothing that it must not; `keys` with shapes where these are known.

        A layout that asks for shapes fits no names without any.
        """
        top, names = list(entries), list(keys)
        if self.shapes and not (isinstance(keys, Mapping) and self._shaped(keys)):
            return False
        return (
            all(any(re.search(pattern, name) for name in top) for pattern in self.entries)
            and all(any(re.search(pattern, name) for name in names) for pattern in self.keys)
            and not any(re.search(pattern, name) for pattern in self.absent for name in (*top, *names))
        )

    def _shaped(self, shapes: Mapping[str, Sequence[int]]) -> bool:
        def fits(wanted: Sequence[int], found: Sequence[int]) -> bool:
            if len(wanted) != len(found):
                return False
            pairs = list(zip(wanted, found, strict=True))
            sizes = {w: {n for other, n in pairs if other == w} for w in wanted if w < -1}
            return all(w < 0 or w == n for w, n in pairs) and all(len(each) == 1 for each in sizes.values())

        return all(
            any(re.search(pattern, name) and fits(wanted, shape) for name, shape in shapes.items())
            for pattern, wanted in self.shapes.items()
        )

    def is_certain(self, entries: Iterable[str], keys: Iterable[str]) -> bool:
        """Whether a file that matches can be of no other family."""
        ordered = list(keys)
        names = [*entries, *ordered]

        def place(pattern: str) -> int:
            return next((i for i, name in enumerate(ordered) if re.search(pattern, name)), len(ordered))

        return (
            not self.ambiguous
            and all(any(re.search(pattern, name) for name in names) for pattern in self.certain)
            and all(place(first) < place(second) for first, second in self.order)
        )


class Told(_Entry):
    """An argument of the architecture that the configuration beside the weights says.

    Attributes:
        option: the argument.
        entry: where the configuration says it.
        default: what its absence means; None where it has to be there.
    """

    option: str
    entry: str
    default: Any = None


class Facts(_Entry):
    """What the shapes of a family's tensors do not say about its architecture.

    Attributes:
        arch: the architecture, where the family has only one, as `--arch` takes it; with `*` in it, what the name of
            one of timm's has to be where several have these shapes.
        heads: attention heads by width, where a number is not the only one in use for that width.
        head_width: channels per head, where they are the same at every width that `heads` does not list.
        learned_positions: `heads` is for networks that learned their positions, as all of this family did; a file of
            this form with a table of sines and cosines is of other code, with heads of its own.
        options: further arguments of the architecture (`act_layer`, `norm_eps`, `global_pool`).
        config: those that the configuration of a folder says.
        published: its networks have timm's names and no free dimensions, so that the index of shapes decides.
        positions: whose interpolation position embeddings go through at another size.
        representation: the family's own choice of feature; empty for the architecture's.
    """

    arch: str = ""
    heads: Mapping[int, int] = {}
    head_width: int = 0
    learned_positions: bool = False
    options: Mapping[str, Any] = {}
    config: tuple[Told, ...] = ()
    published: bool = False
    positions: Resample = "timm"
    representation: str = ""


class Layout(_Entry):
    """How a family of checkpoints stores its encoder.

    Attributes:
        name: what `--layout` takes.
        summary: one line for `list layouts`.
        source: the code or page that the entry was read from.
        like: a layout whose fields this one has, but for those that it states itself.
        methods: the published methods whose files these are, for the documentation.
        recognise: what such a file has; empty for layouts that only `--layout` chooses.
        over: layouts that this one is preferred to where both recognise a file.
        encoder: which of the file's encoders to take: dotted name parts, the first that exists; with a dot at its end,
            that very place, with all that lies beside an encoder in it. An empty string means the file itself.
        renames: substitutions in the encoder's keys, in order, after the prefix is gone.
        changes: what then happens to its tensors, in order.
        drops: tensors left out of this family beyond the common rules; asked first.
        trained_without_labels: its heads are projections, not classifiers.
        architecture: what shapes do not decide.
        preprocessing: what the family's images go through, as `--preprocess` takes it.
        quirks: traps worth a line to whoever loads it.
    """

    name: str
    summary: str
    source: str
    like: str = ""
    methods: tuple[str, ...] = ()
    recognise: Recognise = Recognise()
    over: tuple[str, ...] = ()
    encoder: tuple[str, ...] = ()
    renames: tuple[Rename, ...] = ()
    changes: tuple[Change, ...] = ()
    drops: tuple[DropRule, ...] = ()
    trained_without_labels: bool = False
    architecture: Facts = Facts()
    preprocessing: Mapping[str, Any] = {}
    quirks: tuple[str, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether tensors get other names or shapes than they have in the file."""
        return bool(self.renames or self.changes)
