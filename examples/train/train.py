"""Train the small CGCNN that examples/saved_models holds. See README.md for how long it takes and what it is."""
from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch loads: the number of threads changes the last bits
import torch
from torch import Tensor, nn

from cgcnn import Batch, CrystalGraphConvNet, collate
from dataset import Sample, generate
from graph import REPO, Graph, GraphSettings, build_graph, centres, element_rows

SETTINGS = GraphSettings()
SAVED = REPO / "examples/saved_models"
LIMITS = (
    "A toy model. It predicts the electrostatic (Ewald) energy of point ions with formal charges, NOT a formation "
    "energy, a total energy or a stability: short-range repulsion, covalency and polarisation are absent. It has seen "
    "only synthetic crystals of the listed prototypes, elements and formal charges, with bonds within about 10 % of "
    "ionic radius sums; elsewhere (metals, molecules, other oxidation states, larger distortions) its output means "
    "nothing. Use it to try the software, not to learn about a material."
)


class Normaliser:
    """z = (y - mean) / std, saved as upstream saves it: two 0-dimensional float32 tensors."""

    def __init__(self, targets: Tensor) -> None:
        self.mean, self.std = targets.mean(), targets.std()

    def state_dict(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "std": self.std}


class Split:
    """A part of the data: graphs and targets (B,) in eV/atom."""

    def __init__(self, samples: list[Sample], graphs: list[Graph], index: list[int]) -> None:
        self.samples = [samples[i] for i in index]
        self.graphs = [graphs[i] for i in index]
        self.targets = torch.tensor([samples[i].energy for i in index])

    def batches(self, size: int, rows: Tensor, order: list[int]) -> list[tuple[Batch, Tensor]]:
        """Batches of at most `size` crystals in this order, each with its targets."""
        parts = [order[i : i + size] for i in range(0, len(order), size)]
        return [(collate([self.graphs[i] for i in part], rows, SETTINGS), self.targets[part]) for part in parts]


def split(samples: list[Sample], args: argparse.Namespace) -> dict[str, list[int]]:
    """
    Indices per part. "unseen" holds every crystal of a random share of the chemical systems (element sets), so none
    of those element combinations is trained on; the other crystals go to train, val and test at random.
    """
    rng = random.Random(args.seed)
    systems = sorted({s.system for s in samples})
    held = {frozenset(name.split("-")) for name in rng.sample(systems, round(args.unseen_ratio * len(systems)))}
    is_held = [frozenset(s.system.split("-")) in held for s in samples]  # a set: A-B-X and B-A-X are one system
    unseen = [i for i, out in enumerate(is_held) if out]
    rest = [i for i, out in enumerate(is_held) if not out]
    rng.shuffle(rest)
    n_val, n_test = round(args.val_ratio * len(rest)), round(args.test_ratio * len(rest))
    return {
        "val": rest[:n_val],
        "test": rest[n_val : n_val + n_test],
        "train": rest[n_val + n_test :],
        "unseen": unseen,
    }


@torch.no_grad()
def evaluate(model: nn.Module, batches: list[tuple[Batch, Tensor]], norm: Normaliser) -> tuple[float, float]:
    """Mean absolute error (eV/atom) and R² in evaluation mode."""
    model.eval()
    predicted = torch.cat([model(batch) for batch, _ in batches]) * norm.std + norm.mean
    target = torch.cat([t for _, t in batches])
    r2 = 1 - ((predicted - target) ** 2).sum() / ((target - target.mean()) ** 2).sum()
    return float((predicted - target).abs().mean()), float(r2)


def train_epoch(model: nn.Module, batches: list[tuple[Batch, Tensor]], norm: Normaliser,
                optimizer: torch.optim.Optimizer) -> tuple[float, float]:
    """One pass; returns the mean loss (normalised, squared) and the running mean absolute error (eV/atom)."""
    model.train()
    loss_sum = error_sum = 0.0
    for batch, target in batches:
        output = model(batch)
        loss = nn.functional.mse_loss(output, (target - norm.mean) / norm.std)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum += float(loss) * len(target)
        error_sum += float((output.detach() * norm.std + norm.mean - target).abs().sum())
    n = sum(len(target) for _, target in batches)
    return loss_sum / n, error_sum / n


@dataclass
class Run:
    """One training run: what a checkpoint holds, and where it goes."""

    model: CrystalGraphConvNet
    optimizer: torch.optim.Optimizer
    norm: Normaliser
    args: dict[str, Any]  # plain values only: they are pickled into the checkpoint
    folder: Path

    def save(self, name: str, epoch: int, best: float) -> None:
        """Write a checkpoint with upstream's keys; `epoch` counts finished epochs, so resuming starts there."""
        checkpoint = {
            "epoch": epoch,
            "state_dict": self.model.state_dict(),
            "best_mae_error": best,
            "optimizer": self.optimizer.state_dict(),
            "normalizer": self.norm.state_dict(),
            "args": self.args,
        }
        torch.save(checkpoint, self.folder / f"cgcnn_ionic_{name}.pt")


def start(args: argparse.Namespace, folder: Path, targets: Tensor) -> Run:
    """A fresh model and optimizer; targets (B,) of the training part fix the normaliser."""
    model = CrystalGraphConvNet(len(centres(SETTINGS)), args.atom_fea_len, args.n_conv, args.h_fea_len, args.n_h)
    if args.optim == "SGD":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            model.parameters(), args.lr, momentum=args.momentum, weight_decay=args.weight_decay)
    else:
        optimizer = torch.optim.Adam(model.parameters(), args.lr, eps=args.eps, weight_decay=args.weight_decay)
    return Run(model, optimizer, Normaliser(targets), vars(args), folder)


def fit(run: Run, train: Split, val: Split, rows: Tensor) -> list[dict[str, float]]:
    """All epochs; saves `best`, the kept epoch and `final`, and returns one history row per epoch."""
    args = run.args
    rng, order = random.Random(args["seed"]), list(range(len(train.graphs)))
    schedule = torch.optim.lr_scheduler.MultiStepLR(run.optimizer, args["lr_milestones"], gamma=0.1)
    val_batches = val.batches(args["batch_size"], rows, list(range(len(val.graphs))))
    history: list[dict[str, float]] = []
    best = float("inf")
    for epoch in range(1, args["epochs"] + 1):
        rng.shuffle(order)
        lr = run.optimizer.param_groups[0]["lr"]
        loss, train_mae = train_epoch(
            run.model, train.batches(args["batch_size"], rows, order), run.norm, run.optimizer)
        schedule.step()
        val_mae, _ = evaluate(run.model, val_batches, run.norm)
        row = {"epoch": epoch, "lr": lr, "loss": loss, "train_mae": train_mae, "val_mae": val_mae}
        history.append({k: v if k == "epoch" else float(f"{v:.4g}") for k, v in row.items()})
        print(*(f"{k} {v:.4g}" for k, v in row.items()), flush=True)
        if val_mae < best:
            best = val_mae
            run.save("best", epoch, best)
        if epoch == args["keep_epoch"]:
            run.save(f"epoch{epoch}", epoch, best)
    run.save("final", args["epochs"], best)
    return history


def describe(run: Run, samples: list[Sample], parts: dict[str, Split], best_epoch: int, rows: Tensor) -> dict[str, Any]:
    """The metadata of the best checkpoint, scored on crystals and on chemical systems it never met."""
    state = torch.load(run.folder / "cgcnn_ionic_best.pt")["state_dict"]
    run.model.load_state_dict(state)
    score = {}
    for name in ("test", "unseen"):
        part = parts[name]
        batches = part.batches(256, rows, list(range(len(part.graphs))))
        baseline = float((part.targets - parts["train"].targets.mean()).abs().mean())
        score[name] = [round(x, 4) for x in (*evaluate(run.model, batches, run.norm), baseline)]
    used = {"epochs", "batch_size", "optim", "lr", "lr_milestones", "weight_decay", "seed"}
    used |= {"atom_fea_len", "n_conv", "h_fea_len", "n_h"} | {"momentum" if run.args["optim"] == "SGD" else "eps"}
    return {
        "model_type": "cgcnn",
        "training_data": "synthetic ionic crystals, generated by examples/train/dataset.py (nothing downloaded)",
        "property": "electrostatic energy per atom (Ewald, formal charges)",
        "unit": "eV/atom",
        "limits": LIMITS,
        **{f"n_{name}": len(part.graphs) for name, part in parts.items()},
        "best_epoch": best_epoch,
        "test_mae": score["test"][0],
        "test_r2": score["test"][1],
        "baseline_mae": score["test"][2],
        "unseen_mae": score["unseen"][0],
        "unseen_r2": score["unseen"][1],
        "unseen_baseline_mae": score["unseen"][2],
        "notes": "baseline: always predict the mean of the training set. unseen: crystals of element combinations "
        "that are in no other part. formal_charges: the elements trained on, each with its charges.",
        "label_std": round(float(parts["train"].targets.std()), 4),
        "hyperparameters": {k: v for k, v in run.args.items() if k in used},
        "graph": {**asdict(SETTINGS), "var": SETTINGS.step},
        "n_parameters": sum(p.numel() for p in run.model.parameters()),
        "prototypes": dict(Counter(s.prototype for s in samples)),
        "formal_charges": formal_charges(parts["train"].samples),
    }


def formal_charges(samples: list[Sample]) -> dict[str, list[int]]:
    """Element symbol -> the formal charges it has in these crystals, elements by atomic number."""
    species = {site.specie for s in samples for site in s.structure}
    found: dict[str, list[int]] = {}
    for one in sorted(species, key=lambda sp: (sp.Z, sp.oxi_state)):
        found.setdefault(one.symbol, []).append(int(one.oxi_state))
    return found


def write_json(path: Path, value: dict[str, Any], rows: str = "") -> None:
    """Indented JSON; the list under `rows`, if named, goes one item a line."""
    text = json.dumps(value, indent=2)
    if rows:
        compact = ",\n    ".join(json.dumps(row) for row in value[rows])
        text = json.dumps({**value, rows: 0}, indent=2).replace(f'"{rows}": 0', f'"{rows}": [\n    {compact}\n  ]')
    path.write_text(text + "\n")


def parse() -> tuple[argparse.Namespace, Path]:
    """Options under upstream's names (they are saved), and the output folder (which is not)."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--out", type=Path, default=SAVED)
    p.add_argument("--size", type=int, default=2380)
    p.add_argument("--seed", type=int, default=20240607)
    p.add_argument("--epochs", type=int, default=240)
    p.add_argument("--keep-epoch", type=int, default=50)
    p.add_argument("--batch-size", type=int, default=32)
    p.add_argument("--optim", choices=["SGD", "Adam"], default="Adam")
    p.add_argument("--lr", type=float, default=0.005)
    p.add_argument("--lr-milestones", type=int, nargs="+", default=[160, 210])
    p.add_argument("--momentum", type=float, default=0.9)  # SGD only
    # Adam only. bn1 cancels fc_full.bias, whose gradient is rounding noise; the default eps of 1e-8 would blow that
    # noise up to full steps, so that the bias wanders and bn1's running mean lags behind it.
    p.add_argument("--eps", type=float, default=1e-6)
    p.add_argument("--weight-decay", type=float, default=0.0)
    p.add_argument("--val-ratio", type=float, default=0.12)
    p.add_argument("--test-ratio", type=float, default=0.12)
    p.add_argument("--unseen-ratio", type=float, default=0.1)
    p.add_argument("--atom-fea-len", type=int, default=16)
    p.add_argument("--n-conv", type=int, default=3)
    p.add_argument("--h-fea-len", type=int, default=24)
    p.add_argument("--n-h", type=int, default=1)
    args = p.parse_args()
    folder = args.out
    del args.out
    for key, value in {"task": "regression", "cuda": False, "start_epoch": 0, **asdict(SETTINGS)}.items():
        setattr(args, key, value)
    return args, folder


def main() -> None:
    args, folder = parse()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.time()
    samples = generate(args.size, args.seed)
    graphs = [build_graph(s.structure, SETTINGS) for s in samples]
    parts = {name: Split(samples, graphs, index) for name, index in split(samples, args).items()}
    print(f"{len(samples)} crystals in {time.time() - began:.0f} s;", {k: len(v.graphs) for k, v in parts.items()})
    began = time.time()
    rows = torch.from_numpy(element_rows())
    run = start(args, folder, parts["train"].targets)
    history = fit(run, parts["train"], parts["val"], rows)
    seconds = round(time.time() - began)
    best = min(history, key=lambda row: row["val_mae"])
    metadata = describe(run, samples, parts, int(best["epoch"]), rows)
    write_json(folder / "cgcnn_ionic_metadata.json", metadata)
    summary = {
        "model_name": "cgcnn_ionic",
        "epochs": args.epochs,
        "best_val_mae": best["val_mae"],
        "training_time": seconds,
        "hyperparameters": metadata["hyperparameters"],
        "history": history,
    }
    write_json(folder / "training_history.json", summary, rows="history")
    print(json.dumps({k: v for k, v in metadata.items() if "mae" in k or "r2" in k}), f"{seconds} s")


if __name__ == "__main__":
    main()
