"""What real PyTorch (1.13 or 2.x) makes of files: run by the interop tests, one process for many files.

    interop.py versions
    interop.py describe MODES FILE...     each file loaded in each mode, described as test/describe-value.ts does
    interop.py resave FOLDER FILE...      each file loaded and saved again by torch, under its name in FOLDER
    interop.py pickles EXPRESSION...      data.pkl and file that torch.save makes of each Python expression
    interop.py check (FILE LAMBDA)...     each file loaded in full mode and given to the Python function
    interop.py kinds FOLDER               a file of every row of interop_kinds.py; prints their names
    interop.py same (FILE FILE)...        where pairs of files differ, loaded in full mode
    interop.py train FILE                 a checkpoint before the last step; prints the parameters after it
    interop.py resume FILE                the last step from a checkpoint; prints the parameters after it

Modes, joined by commas: full, weights_only, mmap, debug (TORCH_SERIALIZATION_DEBUG), offsets (computed, not read).
Prints one line of JSON.
"""

import io
import json
import os
import struct
import sys
import warnings
import zipfile
from collections import OrderedDict

warnings.filterwarnings("ignore")
import torch


def bits(value):
    return struct.pack(">d", value).hex()


class Describer:
    def __init__(self):
        self.objects = {}
        self.storages = {}
        self.alive = []

    def describe(self, value):
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, int):
            return {"k": "int", "v": str(value)}
        if isinstance(value, float):
            return {"k": "float", "bits": bits(value)}
        if isinstance(value, complex):
            return {"k": "complex", "re": bits(value.real), "im": bits(value.imag)}
        for kind in ("dtype", "device", "layout", "qscheme"):
            if isinstance(value, getattr(torch, kind)):
                return {"k": kind, "v": str(value)}
        if isinstance(value, torch.Size):
            return {"k": "size", "v": list(value)}
        if isinstance(value, bytes):
            return {"k": "bytes", "hex": value.hex()}
        if isinstance(value, tuple):
            return {"k": "tuple", "items": [self.describe(item) for item in value]}
        if isinstance(value, torch.storage.TypedStorage):
            return {"k": "storage", "dtype": str(value.dtype), "storage": self.storage(untyped(value))}
        if id(value) in self.objects:
            return {"k": "ref", "n": self.objects[id(value)]}
        self.objects[id(value)] = len(self.objects)
        self.alive.append(value)
        return self.describe_object(value)

    def describe_object(self, value):
        if isinstance(value, bytearray):
            return {"k": "bytearray", "hex": value.hex()}
        if isinstance(value, (list, set, frozenset)):
            return {"k": type(value).__name__, "items": [self.describe(item) for item in value]}
        if isinstance(value, dict):
            items = [[self.describe(key), self.describe(item)] for key, item in value.items()]
            attrs = getattr(value, "__dict__", None)
            return {"k": type(value).__name__, "items": items, "attrs": self.describe(attrs) if attrs else None}
        if isinstance(value, torch.Tensor):
            return self.tensor(value)
        raise TypeError(f"cannot describe {type(value)}")

    def tensor(self, t):
        if t.layout != torch.strided:
            return self.sparse(t)
        attrs = {k: v for k, v in t.__dict__.items() if k != "_backward_hooks"}
        return {
            "k": "tensor",
            "dtype": str(t.dtype),
            "shape": list(t.shape),
            "stride": list(t.stride()),
            "offset": t.storage_offset(),
            "grad": t.requires_grad,
            "param": isinstance(t, torch.nn.Parameter),
            "conj": t.is_conj(),
            "neg": t.is_neg(),
            "storage": None if t.device.type == "meta" else self.storage(storage_of(t)),
            "quantizer": self.quantizer(t) if t.is_quantized else None,
            "attrs": self.describe(attrs) if attrs else None,
        }

    def quantizer(self, t):
        if t.qscheme() == torch.per_tensor_affine:
            parts = [t.qscheme(), t.q_scale(), t.q_zero_point()]
        else:
            parts = [t.qscheme(), t.q_per_channel_scales(), t.q_per_channel_zero_points(), t.q_per_channel_axis()]
        return [self.describe(part) for part in parts]

    def sparse(self, t):
        if t.layout == torch.sparse_coo:
            parts = [t._indices(), t._values()]
        elif t.layout in (torch.sparse_csr, torch.sparse_bsr):
            parts = [t.crow_indices(), t.col_indices(), t.values()]
        else:
            parts = [t.ccol_indices(), t.row_indices(), t.values()]
        return {
            "k": "sparse",
            "layout": str(t.layout),
            "parts": [self.describe(part) for part in parts],
            "shape": list(t.shape),
            "coalesced": t.layout == torch.sparse_coo and t.is_coalesced(),
        }

    def storage(self, storage):
        if storage.nbytes() == 0:
            return {"n": None, "hex": ""}
        number = self.storages.setdefault(storage._cdata, len(self.storages))
        self.alive.append(storage)
        raw = torch.empty(0, dtype=torch.uint8).set_(storage)
        return {"n": number, "hex": bytes(raw.tolist()).hex()}


def untyped(storage):
    return storage._untyped_storage if hasattr(storage, "_untyped_storage") else storage.untyped()


def storage_of(t):
    return t.untyped_storage() if hasattr(t, "untyped_storage") else t.storage().untyped()


def load(path, mode):
    os.environ["TORCH_SERIALIZATION_DEBUG"] = "1" if mode in ("debug", "offsets") else "0"
    if mode == "full":
        return torch.load(path, weights_only=False)
    if mode == "offsets":
        from torch.utils.serialization import config

        with config.patch("load.calculate_storage_offsets", True):
            return torch.load(path, weights_only=True, mmap=True)
    return torch.load(path, weights_only=True, **({"mmap": True} if mode == "mmap" else {}))


def described(path, mode):
    try:
        return Describer().describe(load(path, mode))
    except Exception as error:
        return {"k": "error", "message": f"{type(error).__name__}: {error}"[:500]}


def resave(folder, path):
    try:
        torch.save(load(path, "full"), os.path.join(folder, os.path.basename(path)))
        return None
    except Exception as error:
        return str(error)[:500]


def pickled(expression):
    out = io.BytesIO()
    torch.save(eval(expression, {"torch": torch, "OrderedDict": OrderedDict}), out)
    out = out.getvalue()
    return {"pickle": zipfile.ZipFile(io.BytesIO(out)).read("archive/data.pkl").hex(), "file": out.hex()}


def check(path, function):
    try:
        return bool(eval(function)(load(path, "full")))
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:500]


def network():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.BatchNorm1d(7), torch.nn.ReLU(), torch.nn.Linear(7, 3))
    groups = [{"params": model[0].parameters()}, {"params": model[1:].parameters(), "lr": 0.01, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.003, amsgrad=True)
    return model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 3)


def step(model, optimizer, scheduler, number):
    generator = torch.Generator().manual_seed(number)
    x, y = torch.randn(4, 5, generator=generator), torch.randn(4, 3, generator=generator)
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
    scheduler.step()


def parameters(model):
    tensors = [*model.parameters(), *model.buffers()]
    return [bytes(storage_of(t).tolist()).hex() for t in (t.detach().contiguous() for t in tensors)]


STEPS = 5


def train(path):
    parts = network()
    for number in range(STEPS):
        step(*parts, number)
    torch.save(dict(zip(("model", "optimizer", "scheduler"), (part.state_dict() for part in parts)), epoch=STEPS), path)
    step(*parts, STEPS)
    return parameters(parts[0])


def resume(path):
    checkpoint = torch.load(path, weights_only=True)
    parts = network()
    for part, name in zip(parts, ("model", "optimizer", "scheduler")):
        part.load_state_dict(checkpoint[name])
    step(*parts, checkpoint["epoch"])
    return parameters(parts[0])


def main(command, *args):
    if command == "versions":
        return {"torch": torch.__version__, "python": sys.version.split()[0]}
    if command == "describe":
        modes = args[0].split(",")
        return [{mode: described(path, mode) for mode in modes} for path in args[1:]]
    if command == "resave":
        return [resave(args[0], path) for path in args[1:]]
    if command == "pickles":
        return [pickled(expression) for expression in args]
    if command == "kinds":
        import interop_kinds

        return interop_kinds.save(args[0])
    if command == "same":
        import interop_kinds

        full = lambda path: load(path, "full")
        return [interop_kinds.same(a, b, full) for a, b in zip(args[::2], args[1::2])]
    if command == "check":
        return [check(path, function) for path, function in zip(args[::2], args[1::2])]
    return {"train": train, "resume": resume}[command](*args)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
