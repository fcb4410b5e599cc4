"""Kinds of values that random ones do not have, for test/interop-kinds.test.ts: whole modules, optimizers, schedulers,
random states, numpy of every kind, classes of Python. `save` writes one file per row and protocol; `same` loads two files
in full mode and says where they differ, sharing included."""

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import os
import pathlib
import random
import struct
import types
import uuid

import numpy as np
import torch
import torch.nn.utils.prune
from torch import nn


class Color(enum.Enum):
    RED = 1
    BLUE = "b"


class Outer:
    class Inner:
        def __init__(self, v):
            self.v = v

        def method(self):
            return self.v

    class Kind(enum.Enum):
        A = 1

    def plain(self):
        pass


@dataclasses.dataclass
class Config:
    rate: float = 1.0
    tags: list = dataclasses.field(default_factory=list)
    inner: object = None


class State:
    def __init__(self, s):
        self.s = s

    def __getstate__(self):
        return self.s

    def __setstate__(self, s):
        self.s = s


class Made:
    def __new__(cls, *args, **kwargs):
        made = object.__new__(cls)
        made.args, made.kwargs = args, kwargs
        return made

    def __getnewargs_ex__(self):
        return self.args, self.kwargs


Point = collections.namedtuple("Point", "x y")


class Dict(dict):
    pass


class List(list):
    pass


class Set(set):
    pass


class Float(float):
    pass


class Tuple(tuple):
    pass


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.GRUCell(3, 4)
        self.norm = nn.BatchNorm2d(5)
        self.embedding = nn.Embedding(7, 3)
        self.out = nn.Linear(3, 7, bias=False)
        self.out.weight = self.embedding.weight
        self.register_buffer("hidden", torch.arange(3.0), persistent=False)
        self.register_buffer("none", None)
        self.parts = nn.ModuleDict({"a": nn.ModuleList([nn.Conv1d(1, 2, 3), nn.ReLU()])})
        self.parameter_list = nn.ParameterList([nn.Parameter(torch.ones(2))])
        self.config = Config(tags=[1.0, 2])


def optimizer(name):
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    made = getattr(torch.optim, name)(net.parameters(), lr=1.0)

    def closure():
        made.zero_grad()
        loss = net(torch.ones(4, 3)).pow(2).sum()
        loss.backward()
        return loss

    for _ in range(2):
        made.step(closure)
    return made


def scheduler(make):
    made = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.5, momentum=0.9)
    schedule = make(torch.optim.lr_scheduler, made)
    made.step()
    schedule.step(*([1.0] if "Plateau" in type(schedule).__name__ else []))
    return schedule.state_dict()


def recursive():
    items, tuples, spaces = [], ([],), types.SimpleNamespace()
    items.append(items)
    tuples[0].append(tuples)
    spaces.me, spaces.items = spaces, [spaces, items]
    ordered, default = collections.OrderedDict(), collections.defaultdict(list)
    ordered["o"], ordered.attribute, default["d"] = ordered, ordered, default
    return [items, tuples, spaces, ordered, default]


def attributes():
    tensor, parameter = torch.ones(2), nn.Parameter(torch.ones(2))
    tensor.scale, tensor.me, parameter.tag = 1.0, [tensor], {"x": -0.0}
    return [tensor, parameter, parameter]


def structures():
    packed = np.dtype([("x", "f4"), ("y", "i8", (2,)), ("z", [("q", "U2")])])
    aligned = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    objects = np.zeros(2, np.dtype([("o", "O"), ("n", "i4")]))
    objects["o"] = [1.0, "x"]
    return [np.zeros(2, packed), packed, np.zeros(2, packed)[0], np.zeros(2, aligned), objects]


def quantized():
    scales, zeros = torch.tensor([0.5, 1.0], dtype=torch.double), torch.tensor([0, 1])
    whole = [torch.quantize_per_tensor(torch.randn(3, 4), 1.0, 3, t) for t in (torch.quint8, torch.qint8, torch.qint32)]
    rows = torch.quantize_per_channel(torch.randn(2, 4), scales, zeros, 0, torch.quint8)
    small = torch.quantize_per_channel(torch.randn(2, 4), scales.float(), zeros.float(), 0, torch.quint4x2)
    return [*whole, whole[0][1:], whole[0].t(), rows, small]


A = np.arange(24.0).reshape(2, 3, 4)
NUMPY = "f2 f4 f8 g c8 c16 G i1 i2 i4 i8 u1 u2 u4 u8 ? S5 U3 M8[ns] m8[s] V4 O >f4 >i8 >U2 >c8".split()


def numpy_of(code):
    array = np.zeros(3, code)
    if code != "V4":
        array[:] = [1.0, "x", [1]] if code == "O" else "ab" if {"S", "U"} & set(code) else 1
    return {"array": array, "one": array[0], "dtype": array.dtype, "fortran": np.asfortranarray(np.stack([array, array]))}


ROWS = {
    "module": Net,
    "module state": lambda: Net().state_dict(),
    "pruned": lambda: nn.utils.prune.l1_unstructured(nn.Linear(3, 2), "weight", 1),
    "parametrized": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)).state_dict(),
    "averaged": lambda: torch.optim.swa_utils.AveragedModel(nn.Linear(2, 2)).state_dict(),
    **{
        f"optimizer {n}": functools.partial(lambda n: [(o := optimizer(n)).state_dict(), o], n)
        for n in "SGD Adam AdamW Adamax NAdam RAdam RMSprop Rprop Adagrad Adadelta ASGD LBFGS".split()
    },
    "step": lambda: scheduler(lambda s, o: s.StepLR(o, 2)),
    "milestones": lambda: scheduler(lambda s, o: s.MultiStepLR(o, [1, 2, 2])),
    "plateau": lambda: scheduler(lambda s, o: s.ReduceLROnPlateau(o)),
    "one cycle": lambda: scheduler(lambda s, o: s.OneCycleLR(o, 1.0, 20)),
    "sequential": lambda: scheduler(lambda s, o: s.SequentialLR(o, [s.ConstantLR(o), s.ExponentialLR(o, 0.9)], [2])),
    "lambda": lambda: scheduler(lambda s, o: s.LambdaLR(o, lambda epoch: 0.5)),
    "random states": lambda: [
        random.getstate(),
        np.random.get_state(),
        np.random.get_state(legacy=False),
        np.random.default_rng(0).bit_generator.state,
        [torch.get_rng_state()],
        random.Random(3),
    ],
    "enums": lambda: {"c": Color.RED, Color.BLUE: Outer.Kind.A},
    "dataclass": lambda: [Config(1.0, [1, 2.0], Config())],
    "classes inside classes": lambda: [Outer.Inner(1.0), Outer.Inner, Outer.Kind, Outer.plain],
    "methods": lambda: [Outer.Inner(2).method, len, functools.partial(int, base=2)],
    "whole floats as states": lambda: [State(s) for s in (1.0, 5, (1.0, 2), [1.0], {1.0: 2.0}, -0.0, 1e300, True)],
    "arguments of __new__": lambda: [Made(1.0, 2, k=1.0), Made(1), Made()],
    "subclasses": lambda: [Dict(a=1.0), List([1, 2.0]), Set([1.0]), Float(2.0), Tuple((1, 2.0)), Point(1, 2.0)],
    "library": lambda: [
        *[pathlib.PurePosixPath("/a/b"), decimal.Decimal("1.50"), uuid.UUID(int=5), slice(1, 2.0), range(3)],
        *[datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc), datetime.timedelta(seconds=1.5)],
        *[collections.deque([1, 2.0], 3), collections.Counter("aab"), types.SimpleNamespace(a=1.0)],
        *[argparse.Namespace(x=1.0), ValueError("bad"), Ellipsis, type(None), int, bytearray(b"ab")],
    ],
    "integers": lambda: [s * 2**n + d for n in (8, 31, 53, 54, 63, 64, 255, 2040, 4000) for d in (-1, 0, 1) for s in (1, -1)],
    "floats": lambda: {"k": -0.0, 1.5: 0.0, 2.0: 1, 3: 3.0, (1.0, -0.0): [2.0**53], "s": {1.0, 2.5}, "n": float("nan")},
    "keys": lambda: {True: 1, "1": 2, (1, 2): 3, None: 4, b"b": 5, frozenset([1, (2, 3)]): 6, 0: 7, 2 + 3j: 8, (): 9},
    "keys of torch and numpy": lambda: {torch.float32: 1, torch.device("cpu"): 2, torch.Size([1]): 3, np.int64(5): 4},
    "recursive": recursive,
    "attributes": attributes,
    "quantized": quantized,
    "quantized module": lambda: torch.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4))).state_dict(),
    "conjugate": lambda: torch.view_as_complex(torch.randn(3, 2, 2)).conj().t(),
    "negative": lambda: torch.view_as_complex(torch.randn(3, 2)).conj().imag,
    "numpy orders": lambda: [A, A.T, np.asfortranarray(A), A[:, ::-1], np.broadcast_to(A[0], (2, 3, 4)), A[0:0], A[0, 0, 0]],
    "numpy structures": structures,
    "numpy subclasses": lambda: [np.matrix([[1.0, 2.0]]), np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])],
    "numpy objects": lambda: np.array([[1.0, None], [torch.ones(1), {"a": 1.0}]], dtype=object),
    "numpy strings": lambda: np.array(["a", "bb"], dtype=np.dtypes.StringDType()) if hasattr(np, "dtypes") else None,
    **{f"numpy {code}": functools.partial(numpy_of, code) for code in NUMPY},
}


def save(folder):
    """One file per row, legacy and protocols 2 and 4; returns their names."""
    torch.manual_seed(0)
    names = []
    for row, make in ROWS.items():
        value = make()
        for form, options in (("2", {}), ("4", {"pickle_protocol": 4}), ("old", {"_use_new_zipfile_serialization": False})):
            names.append(f"{row}, {form}.pt")
            torch.save(value, os.path.join(folder, names[-1]), **options)
    return names


def same(found, expected, load):
    try:
        return Comparison().difference(load(found), load(expected), "value")
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:500]


class Comparison:
    def __init__(self):
        self.pairs = {}
        self.alive = []

    def difference(self, a, b, path):
        if type(a) is not type(b):
            return f"{path}: {type(a)} and {type(b)}"
        if isinstance(a, float):
            return None if struct.pack("d", a) == struct.pack("d", b) else f"{path}: {a} and {b}"
        plain = (type, str, bytes, int, enum.Enum, types.FunctionType, torch.dtype, torch.device, np.dtype)
        if a is None or isinstance(a, plain) or (isinstance(a, tuple) and not a):
            return None if a == b else f"{path}: {a!r} and {b!r}"
        if id(a) in self.pairs:
            return None if self.pairs[id(a)] == id(b) else f"{path}: shared with something else"
        self.pairs[id(a)] = id(b)
        self.alive += [a, b]
        for step, x, y in self.parts(a, b):
            found = self.difference(x, y, f"{path}{step}")
            if found:
                return found
        return None

    def parts(self, a, b):
        if isinstance(a, torch.Tensor):
            yield from self.tensor(a, b)
        elif isinstance(a, (np.ndarray, np.generic)):
            yield ".layout", repr((a.dtype, a.shape, a.flags.f_contiguous)), repr((b.dtype, b.shape, b.flags.f_contiguous))
            yield ".data", *([x.tolist() if x.dtype.hasobject else x.tobytes() for x in (a, b)])
        elif isinstance(a, (set, frozenset)):
            yield ".members", sorted(map(repr, a)), sorted(map(repr, b))
        elif isinstance(a, (list, tuple, collections.deque)):
            yield ".length", len(a), len(b)
            yield from ((f"[{i}]", x, y) for i, (x, y) in enumerate(zip(a, b)))
        elif isinstance(a, dict):
            yield ".length", len(a), len(b)
            for (k, x), (l, y) in zip(a.items(), b.items()):
                yield ".key", k, l
                yield f"[{k!r}]", x, y
        elif isinstance(a, functools.partial):
            yield ".parts", (a.func, a.args, a.keywords), (b.func, b.args, b.keywords)
        elif isinstance(a, types.MethodType):
            yield ".parts", (a.__func__, a.__self__), (b.__func__, b.__self__)
        elif not hasattr(a, "__dict__"):
            yield ".text", repr(a), repr(b)
        if hasattr(a, "__dict__") and not isinstance(a, (torch.Tensor, types.MethodType)):
            yield ".__dict__", a.__dict__, b.__dict__

    def tensor(self, a, b):
        facts = [(t.shape, t.dtype, t.requires_grad, t.stride(), t.storage_offset(), t.is_conj(), t.is_neg()) for t in (a, b)]
        yield ".facts", *map(repr, facts)
        if a.is_quantized:
            yield ".text", repr(a), repr(b)
        stored = [t.untyped_storage() if hasattr(t, "untyped_storage") else t.storage().untyped() for t in (a, b)]
        self.alive += stored
        if stored[0].nbytes() > 0:
            known = self.pairs.setdefault(("storage", stored[0]._cdata), stored[1]._cdata)
            yield ".storage", known, stored[1]._cdata
            yield ".bytes", *[bytes(torch.empty(0, dtype=torch.uint8).set_(s).tolist()) for s in stored]
        yield ".__dict__", a.__dict__, b.__dict__
