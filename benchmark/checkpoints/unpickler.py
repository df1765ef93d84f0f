"""A reader of pickles that makes plain containers, hands tensors to `rebuild`, and never calls anything else.

`pickletools` splits the stream into opcodes and arguments; the stack machine below gives each its meaning. Where
Python's own unpickler would import a name or call an object, this one looks the exact pair (module, name) up in a fixed
table of our own functions and otherwise writes a `Placeholder` down. There is no attribute access, no import and no
call of anything that came out of the file.
"""

from __future__ import annotations

import pickletools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import IO, Any

from benchmark.checkpoints.pickled import Known, PickleDamage, Refused, Unfinished, hashable
from benchmark.checkpoints.placeholder import Placeholder

_MARK = object()


class Unpickler:
    """Reads pickles from one stream, one after the other, with a memo for each.

    Args:
        stream: positioned at a pickle; `read(n)` must give what is left when that is less than n, without setting n
            bytes aside first (memory or a memory map, not an open file).
        table: (module, name) -> what stands for it.
        persistent: what to make of a persistent id; None where the format has none.

    Attributes:
        foreign: how often each global outside the table was called (or only named: `named`).
    """

    def __init__(
        self,
        stream: IO[bytes],
        table: Mapping[tuple[str, str], Any],
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        self._stream, self._table, self._persistent = stream, table, persistent
        self.foreign: Counter[str] = Counter()
        self.named: Counter[str] = Counter()

    def load(self) -> Any:
        """The next object.

        Raises:
            PickleDamage: the stream is damaged, cut short or malformed.
        """
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._waiting: dict[int, list[int]] = {}  # id of an unfinished object -> where the memo has it
        try:
            for opcode, arg, _ in pickletools.genops(self._stream):
                if opcode.name == "STOP":
                    return self._pop()
                self._step(opcode.name, arg)
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
            raise PickleDamage(str(error) or type(error).__name__) from error
        raise PickleDamage("no end of the pickle")

    # One branch per family of opcodes; the names are those of the pickle documentation.
    def _step(self, name: str, arg: Any) -> None:
        push = self._stack.append
        if name in _LITERALS:
            push(arg)
        elif name in _CONSTANTS:
            push(_CONSTANTS[name]())
        elif name == "MEMOIZE":
            self._memoize(len(self._memo))
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self._memoize(int(arg))
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            push(self._memo[int(arg)])
        elif name == "MARK":
            push(_MARK)
        elif name in _HANDLERS:
            _HANDLERS[name](self, arg)
        elif name == "PROTO":
            if arg > 5:
                raise PickleDamage(f"pickle protocol {arg}")
        elif name != "FRAME":
            raise PickleDamage(f"the opcode {name}, which no checkpoint needs")

    def _memoize(self, slot: int) -> None:
        value = self._memo[slot] = self._top()
        if isinstance(value, Unfinished):
            self._waiting.setdefault(id(value), []).append(slot)

    def _top(self) -> Any:
        value = self._stack[-1]
        if value is _MARK:
            raise PickleDamage("a mark where an object is needed")
        return value

    def _pop(self) -> Any:
        value = self._top()
        self._stack.pop()
        return value

    def _pop_mark(self) -> list[Any]:
        at = len(self._stack) - 1
        while self._stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise PickleDamage("no mark on the stack")
        values = self._stack[at + 1 :]
        del self._stack[at:]
        return values

    def _pop_any(self, _: Any) -> None:
        self._stack.pop()

    def _discard(self, _: Any) -> None:
        self._pop_mark()

    def _dup(self, _: Any) -> None:
        self._stack.append(self._top())

    def _tuple(self, n: int) -> None:
        values = [self._pop() for _ in range(n)]
        self._stack.append(tuple(reversed(values)))

    def _mark_list(self, _: Any) -> None:
        self._stack.append(self._pop_mark())

    def _mark_tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._pop_mark()))

    def _mark_dict(self, _: Any) -> None:
        values = self._pop_mark()
        made: dict[Any, Any] = {}
        self._stack.append(made)
        self._set_items(values)

    def _mark_frozenset(self, _: Any) -> None:
        self._stack.append(frozenset(hashable(value) for value in self._pop_mark()))

    def _append(self, _: Any) -> None:
        value = self._pop()
        self._extend([value])

    def _appends(self, _: Any) -> None:
        self._extend(self._pop_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, set):
            target.update(hashable(value) for value in values)
        elif isinstance(target, Placeholder) and target.called:
            target.elements.extend(values)
        else:
            raise PickleDamage(f"elements appended to a {type(target).__name__}")

    def _setitem(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _setitems(self, _: Any) -> None:
        self._set_items(self._pop_mark())

    def _set_items(self, values: list[Any]) -> None:
        target = self._top()
        if len(values) % 2:
            raise PickleDamage("a key without a value")
        if isinstance(target, Placeholder) and target.called:
            target = target.items
        if not isinstance(target, dict):
            raise PickleDamage(f"items set on a {type(target).__name__}")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[hashable(key)] = value

    # Globals, calls and states: everything that could run something.
    def _find(self, module: Any, name: Any) -> Any:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleDamage("a global whose name is not text")
        known = self._table.get((module, name))
        if known is not None:
            return known
        qualname = "".join(c if c.isprintable() else "?" for c in f"{module}.{name}")[:200]
        self.named[qualname] += 1
        return Placeholder(qualname)

    def _global(self, arg: str) -> None:
        module, _, name = arg.partition(" ")
        self._stack.append(self._find(module, name))

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        self._stack.append(self._find(module, name))

    def _extension(self, code: int) -> None:
        self._stack.append(self._find("copyreg", f"extension {code}"))

    def _inst(self, arg: str) -> None:
        module, _, name = arg.partition(" ")
        self._call(self._find(module, name), tuple(self._pop_mark()), {})

    def _obj(self, _: Any) -> None:
        function, *args = self._pop_mark()
        self._call(function, tuple(args), {})

    def _newobj(self, _: Any) -> None:
        args, function = self._pop(), self._pop()
        self._call(function, args, {})

    def _newobj_ex(self, _: Any) -> None:
        kwargs, args, function = self._pop(), self._pop(), self._pop()
        self._call(function, args, kwargs)

    def _call(self, function: Any, args: Any, kwargs: Any) -> None:
        if not isinstance(args, tuple) or not isinstance(kwargs, dict):
            raise PickleDamage("call arguments that are not a tuple and a dictionary")
        if isinstance(function, Known) and function.call is not None and not kwargs:
            try:
                self._stack.append(function.call(*args))
                return
            except Refused:
                pass
        if not isinstance(function, (Known, Placeholder)):
            raise PickleDamage(f"a call of a {type(function).__name__}")
        qualname = function.name if isinstance(function, Known) else function.qualname
        self.foreign[qualname] += 1
        self._stack.append(Placeholder(qualname, called=True, args=(*args, kwargs) if kwargs else args))

    def _build(self, _: Any) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, Placeholder):
            target.state = state
        elif isinstance(target, Unfinished):
            made = target.build(state)
            if made is not None:
                self._replace(target, made)
        elif not isinstance(
            target, dict
        ):  # a state dict carries `_metadata`: module versions, of no use without classes
            raise PickleDamage(f"a state given to a {type(target).__name__}")

    def _replace(self, old: Any, new: Any) -> None:
        self._stack[-1] = new
        for slot in self._waiting.pop(id(old), ()):
            if self._memo.get(slot) is old:
                self._memo[slot] = new

    def _persid(self, arg: str) -> None:
        self._stack.append(self._resolve(arg))

    def _binpersid(self, _: Any) -> None:
        self._stack.append(self._resolve(self._pop()))

    def _resolve(self, identity: Any) -> Any:
        if self._persistent is None:
            raise PickleDamage("a reference to data outside of the pickle")
        return self._persistent(identity)


_LITERALS = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    }
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_HANDLERS: dict[str, Callable[[Unpickler, Any], None]] = {
    "POP": Unpickler._pop_any,
    "POP_MARK": Unpickler._discard,
    "DUP": Unpickler._dup,
    "TUPLE": Unpickler._mark_tuple,
    "TUPLE1": lambda self, _: self._tuple(1),
    "TUPLE2": lambda self, _: self._tuple(2),
    "TUPLE3": lambda self, _: self._tuple(3),
    "LIST": Unpickler._mark_list,
    "DICT": Unpickler._mark_dict,
    "FROZENSET": Unpickler._mark_frozenset,
    "APPEND": Unpickler._append,
    "APPENDS": Unpickler._appends,
    "ADDITEMS": Unpickler._appends,
    "SETITEM": Unpickler._setitem,
    "SETITEMS": Unpickler._setitems,
    "GLOBAL": Unpickler._global,
    "STACK_GLOBAL": Unpickler._stack_global,
    "EXT1": Unpickler._extension,
    "EXT2": Unpickler._extension,
    "EXT4": Unpickler._extension,
    "INST": Unpickler._inst,
    "OBJ": Unpickler._obj,
    "NEWOBJ": Unpickler._newobj,
    "NEWOBJ_EX": Unpickler._newobj_ex,
    "REDUCE": Unpickler._newobj,
    "BUILD": Unpickler._build,
    "PERSID": Unpickler._persid,
    "BINPERSID": Unpickler._binpersid,
}
