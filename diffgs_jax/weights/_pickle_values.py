"""Pickles read as data: a machine of its own, which makes plain values and calls nothing that a file names.

Python's `pickle` calls functions, sets the state of objects and allocates what numbers in the file say; even with a
list of allowed names a file can double a string a hundred times, or alter an array after it was made. This machine
knows the instructions that protocols 2 to 5 use for values, and its caller says what a name means. What it takes is
bounded by the number of instructions.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from diffgs_jax.errors import DataError
from diffgs_jax.files import one_line, shown

LARGEST_PICKLE = 64 * 2**20
"""Bytes of a pickle: names, shapes and settings, not the numbers of tensors."""

_STEPS = 1_000_000  # instructions, and values in the result. A thousand videos of RealEstate10K have 200,000.
_DEPTH = 64
_ARGUMENTS = 16  # of a call
_LONGEST_INTEGER = 1024  # bits
_SCALARS = (str, bytes, int, float, bool, type(None))


class LeftOut:
    """Stands for an object, a type or a function that is not made: it holds nothing and can do nothing."""


class Callback(LeftOut):
    """A name that a pickle may call, with what its caller wants done then."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call


def read_pickle(
    data: bytes, *, find: Callable[[str, str], Any], load: Callable[[Any], Any], leaves: tuple[type, ...]
) -> Any:
    """Returns what a pickle of protocol 2 or later holds.

    Args:
        data: the pickle.
        find: says what a module and a name in it mean: a `Callback`, or any inert object.
        load: returns what a reference to something outside the pickle means.
        leaves: types beside plain values that may be in the result.

    Raises:
        DataError: if it is damaged, uses other instructions, calls anything else, holds itself, nests more than 64
            levels deep, or holds more than a million values when what is shared is counted each time.
    """
    if len(data) > LARGEST_PICKLE:
        raise DataError(f"its pickle is larger than {LARGEST_PICKLE} bytes")
    machine = _Machine(find, load)
    try:
        value = machine.run(data)
    except (IndexError, KeyError, ValueError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"its pickle is truncated or damaged: {type(error).__name__}: {one_line(error)}") from None
    _check_size(value, leaves)
    return value


class _Machine:
    """A stack, a memory of what was made, and the instructions that work on them."""

    def __init__(self, find: Callable[[str, str], Any], load: Callable[[Any], Any]) -> None:
        self.find, self.load = find, load
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0  # values of lists that calls were given

    def run(self, data: bytes) -> Any:
        for step, (instruction, argument, _) in enumerate(pickletools.genops(data)):
            if step + self.copied > _STEPS:
                raise DataError(f"its pickle has more than {_STEPS} instructions")
            name = instruction.name
            if name == "STOP":
                return self.stack.pop()
            if name in _LITERALS:
                self.stack.append(_LITERALS[name](argument))
            elif name in _INSTRUCTIONS:
                _INSTRUCTIONS[name](self, argument)
            elif name not in ("PROTO", "FRAME"):
                raise DataError(f"its pickle has the instruction {name}, which no torch.save writes")
        raise ValueError("no end")

    def mark(self, _: Any) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marked.pop()
        return items

    def remember(self, place: int | None) -> None:
        self.memo[len(self.memo) if place is None else place] = self.stack[-1]

    def recall(self, place: int) -> None:
        self.stack.append(self.memo[place])

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError("too few values")
        self.stack[len(self.stack) - count :] = [tuple(self.stack[len(self.stack) - count :])]

    def tuple_since_mark(self, _: Any) -> None:
        items = self.since_mark()
        self.stack.append(tuple(items))

    def frozen_set(self, _: Any) -> None:
        items = self.since_mark()
        self.stack.append(frozenset(map(as_key, items)))

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is list:
            target += items
        elif type(target) is not LeftOut:
            _refuse("appends to", target)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if len(items) % 2:
            raise IndexError("a key without a value")
        if isinstance(target, dict):
            target.update(zip(map(as_key, items[::2]), items[1::2], strict=True))
        elif type(target) is not LeftOut:
            _refuse("sets items of", target)

    def add_items(self, _: Any) -> None:
        items = self.since_mark()
        target = self.stack[-1]
        if type(target) is set:
            target.update(map(as_key, items))
        elif type(target) is not LeftOut:
            _refuse("adds to", target)

    def name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(self.find(module, name))

    def name_on_stack(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a name that is no string")
        self.stack.append(self.find(module, name))

    def call(self, _: Any) -> None:
        arguments, target = self.stack.pop(), self.stack.pop()
        if type(target) is LeftOut:
            self.stack.append(LeftOut())
        elif type(target) is Callback and type(arguments) is tuple and len(arguments) <= _ARGUMENTS:
            self.copied += sum(len(argument) for argument in arguments if isinstance(argument, list))
            try:
                self.stack.append(target.call(*arguments))
            except TypeError as error:
                raise ValueError(f"a call with other arguments: {error}") from None
        else:
            _refuse("calls", target)

    def call_with_names(self, _: Any) -> None:
        self.stack.pop()
        arguments, target = self.stack.pop(), self.stack[-1]
        if type(target) is not LeftOut or type(arguments) is not tuple:
            _refuse("calls", target)
        self.stack[-1] = LeftOut()

    def set_state(self, _: Any) -> None:
        self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, dict) and type(target) is not LeftOut:  # attributes of a dictionary are left out
            _refuse("sets the state of", target)

    def load_reference(self, _: Any) -> None:
        self.stack.append(self.load(self.stack.pop()))


def as_key(value: Any) -> Any:
    """Returns what may be the key of a dictionary or a member of a set: text, bytes, a number of 64 bits or None.

    Python hashes a nested tuple without looking how deep it is, and many tuples, or many long integers, can be given
    one hash, which makes a dictionary of them take hours.

    Raises:
        DataError: if it is anything else.
    """
    if type(value) not in _SCALARS or (type(value) is int and value.bit_length() > 64):
        raise DataError(f"its pickle has a {shown(type(value).__name__)} for a key, which is not a plain one")
    return value


def _refuse(action: str, target: Any) -> NoReturn:
    kind = "a name of its own" if isinstance(target, LeftOut) else f"a {type(target).__name__}"
    raise DataError(f"its pickle {action} {kind}; it is not run")


def _whole(value: int) -> int:
    if value.bit_length() > _LONGEST_INTEGER:
        raise DataError(f"its pickle has an integer of {value.bit_length()} bits")
    return value


def _old_text(value: str) -> str:
    return value.encode("latin-1").decode("utf-8")  # text of Python 2, whose encoding is not said


_LITERALS: Mapping[str, Callable[[Any], Any]] = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
    "EMPTY_SET": lambda _: set(),
    "EMPTY_TUPLE": lambda _: (),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "LONG4"), _whole),
    **dict.fromkeys(("BINFLOAT", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), lambda value: value),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), lambda value: value),
    **dict.fromkeys(("BINSTRING", "SHORT_BINSTRING"), _old_text),
}
_INSTRUCTIONS: Mapping[str, Callable[[_Machine, Any], Any]] = {
    "MARK": _Machine.mark,
    "POP": lambda machine, _: machine.stack.pop(),
    "POP_MARK": lambda machine, _: machine.since_mark(),
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "BINPUT": _Machine.remember,
    "LONG_BINPUT": _Machine.remember,
    "MEMOIZE": _Machine.remember,
    "TUPLE": _Machine.tuple_since_mark,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "FROZENSET": _Machine.frozen_set,
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.stack.pop() for _ in range(2)][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "ADDITEMS": _Machine.add_items,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_on_stack,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "NEWOBJ_EX": _Machine.call_with_names,
    "BUILD": _Machine.set_state,
    "BINPERSID": _Machine.load_reference,
}


def _check_size(value: Any, leaves: tuple[type, ...]) -> None:
    """Refuses what a walk through the result would not come to the end of.

    Two references to one list count twice, as they do for whoever walks: sixty lists, each of which holds the next one
    twice, are 2⁶⁰.
    """
    sizes: dict[int, int] = {}  # of the containers that were walked, by identity; 0 while a walk is inside
    walk: list[tuple[Any, list[Any] | None]] = [(value, None)]
    depth = 0
    while walk:
        item, inside = walk.pop()
        if inside is None:
            inside = _items(item, leaves)
            if inside is None or sizes.get(id(item), 0):
                continue
            if id(item) in sizes:
                raise DataError("its pickle holds a list or dictionary that holds itself")
            depth += 1
            if depth > _DEPTH:
                raise DataError(f"its pickle is nested more than {_DEPTH} levels deep")
            sizes[id(item)] = 0
            walk.append((item, inside))
            walk += [(part, None) for part in inside]
        else:
            depth -= 1
            sizes[id(item)] = 1 + sum(sizes.get(id(part), 1) for part in inside)
            if sizes[id(item)] > _STEPS:
                raise DataError(f"its pickle stands for more than {_STEPS} values")


def _items(value: Any, leaves: tuple[type, ...]) -> list[Any] | None:
    """Returns what a container holds, or None for what holds nothing."""
    if isinstance(value, dict):
        return list(value.values())
    if type(value) in (list, tuple):
        return list(value)
    if type(value) in (*_SCALARS, set, frozenset) or isinstance(value, (LeftOut, np.dtype, *leaves)):
        return None
    raise DataError(f"its pickle holds {shown(type(value).__name__)}, which is no tensor and no plain value")
