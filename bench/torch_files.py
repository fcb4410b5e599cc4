"""torch.save and torch.load beside unitcell's, on one thread (bench/checkpoints.ts). Needs torch alone, of any version.

    torch_files.py             worker (see worker.py)
    torch_files.py load FILE   the whole process: import torch, load; prints the number of tensors and the load's own ms
"""
import os
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import torch  # noqa: E402


def linear_stack(width, layers):
    return torch.nn.Sequential(*[torch.nn.Linear(width, width) for _ in range(layers)])


def training_checkpoint():
    """As CGCNN's main.py saves it: epoch, state dict, best error, optimizer after a step, normaliser, arguments. 0.8 MB."""
    net = linear_stack(128, 4)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    net(torch.randn(2, 128)).sum().backward()
    optimizer.step()
    return {
        "epoch": 30,
        "state_dict": net.state_dict(),
        "best_mae_error": torch.tensor(0.039),
        "optimizer": optimizer.state_dict(),
        "normalizer": {"mean": torch.tensor(-1.2), "std": torch.tensor(0.9)},
        "args": {"lr": 0.01, "atom_fea_len": 128, "optim": "Adam", "cuda": False},
    }


FILES = {
    "0.8 MB": training_checkpoint,
    "16 MB": lambda: linear_stack(632, 10).state_dict(),
    "100 MB": lambda: linear_stack(1000, 25).state_dict(),
    # 64 to 4096 bytes each
    "4000 tensors": lambda: torch.nn.Sequential(*[torch.nn.LayerNorm(16 * (1 + i % 64)) for i in range(2000)]).state_dict(),
}


def tensors(value):
    """Every tensor in a loaded value, depth first."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors(item)


def checksum(value):
    """Tensors, their bytes, and the sum of the CRC-32s of these, modulo 2^32."""
    from zlib import crc32

    every = [tensor.detach().contiguous().reshape(-1).numpy() for tensor in tensors(value)]
    return {"tensors": len(every), "bytes": sum(a.nbytes for a in every), "crc": sum(map(crc32, every)) % 2**32}


def mode(request):
    """weights_only as the request has it; without it this version's own default."""
    return {"weights_only": request["weights_only"]} if "weights_only" in request else {}


def step_make(request):
    """The files into a folder: {name: path}."""
    torch.manual_seed(1)
    paths = {name: f"{request['folder']}/{name.replace(' ', '-')}.pt" for name in FILES}
    for name, path in paths.items():
        torch.save(FILES[name](), path)
    return lambda: None, lambda _: paths


def step_load(request):
    return lambda: torch.load(request["file"], **mode(request)), lambda _: None


def step_save(request):
    value = torch.load(request["file"], weights_only=False)
    return lambda: torch.save(value, request["to"]), lambda _: None


def step_replace(request):
    """So that the name has the former file or the whole new one, also after a power failure."""
    value = torch.load(request["file"], weights_only=False)
    part = request["to"] + ".part"

    def replace():
        with open(part, "wb") as file:
            torch.save(value, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, request["to"])
        folder = os.open(os.path.dirname(part), os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    return replace, lambda _: None


def step_checksum(request):
    return lambda: torch.load(request["file"], **mode(request)), checksum


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["load"]:
        start = time.perf_counter()
        loaded = torch.load(sys.argv[2])
        ms = (time.perf_counter() - start) * 1000
        print(sum(1 for _ in tensors(loaded)), f"{ms:.3f}")
    else:
        from worker import work

        work(globals(), {"torch": torch.__version__})
