"""Train the small networks that examples/saved_models holds. See README.md for how long it takes and what they are."""
from __future__ import annotations

import argparse
import json
import os
import random
import textwrap
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Iterator

os.environ["OMP_NUM_THREADS"] = "1"  # before torch loads: the number of threads changes the last bits
import torch
from torch import Tensor, nn

from architectures import ARCHITECTURES, Architecture
from dataset import Sample, generate
from graph import REPO

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

    def __init__(self, samples: list[Sample], graphs: list[Any], index: list[int]) -> None:
        self.samples = [samples[i] for i in index]
        self.graphs = [graphs[i] for i in index]
        self.targets = torch.tensor([samples[i].energy for i in index])

    def batches(self, run: Run, size: int, order: list[int] | None = None) -> Iterator[tuple[Any, Tensor]]:
        """Batches of at most `size` crystals in this order (as they are when None), each with its targets."""
        order = list(range(len(self.graphs))) if order is None else order
        for i in range(0, len(order), size):
            part = order[i : i + size]
            yield run.network.collate([self.graphs[i] for i in part], run.args), self.targets[part]


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
def evaluate(model: nn.Module, batches: Iterable[tuple[Any, Tensor]], norm: Normaliser) -> tuple[float, float]:
    """Mean absolute error (eV/atom) and R² in evaluation mode."""
    model.eval()
    raw, target = map(torch.cat, zip(*((model(batch), target) for batch, target in batches)))
    predicted = raw * norm.std + norm.mean
    r2 = 1 - ((predicted - target) ** 2).sum() / ((target - target.mean()) ** 2).sum()
    return float((predicted - target).abs().mean()), float(r2)


def train_epoch(model: nn.Module, batches: Iterable[tuple[Any, Tensor]], norm: Normaliser,
                optimizer: torch.optim.Optimizer) -> tuple[float, float]:
    """One pass; returns the mean loss (normalised, squared) and the running mean absolute error (eV/atom)."""
    model.train()
    loss_sum = error_sum = 0.0
    n = 0
    for batch, target in batches:
        output = model(batch)
        loss = nn.functional.mse_loss(output, (target - norm.mean) / norm.std)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum += float(loss) * len(target)
        error_sum += float((output.detach() * norm.std + norm.mean - target).abs().sum())
        n += len(target)
    return loss_sum / n, error_sum / n


def packed(optimizer: dict[str, Any]) -> dict[str, Any]:
    """
    The same optimizer state with all tensors of one name ("step", "exp_avg" and so on) laid end to end in one storage.
    In a file each storage costs some 300 bytes on top of its data, as much as the data of most tensors here.
    """
    found: dict[str, list[Tensor]] = {}
    for one in optimizer["state"].values():
        for name, tensor in one.items():
            found.setdefault(name, []).append(tensor)
    views = {}
    for name, tensors in found.items():
        parts = torch.cat([t.reshape(-1) for t in tensors]).split([t.numel() for t in tensors])
        views[name] = iter([part.view(t.shape) for part, t in zip(parts, tensors)])
    state = {i: {name: next(views[name]) for name in one} for i, one in optimizer["state"].items()}
    return {**optimizer, "state": state}


@dataclass
class Run:
    """One training run: what a checkpoint holds, and where it goes."""

    network: Architecture
    model: nn.Module
    optimizer: torch.optim.Optimizer
    norm: Normaliser
    args: dict[str, Any]  # plain values only: they are pickled into the checkpoint
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.network.name}_ionic"

    def save(self, name: str, epoch: int, best: float) -> None:
        """Write a checkpoint with upstream's keys; `epoch` counts finished epochs, so resuming starts there."""
        optimizer = self.optimizer.state_dict()
        checkpoint = {
            "epoch": epoch,
            "state_dict": self.network.state(self.model),
            "best_mae_error": best,
            "optimizer": packed(optimizer) if self.network.packs_optimizer else optimizer,
            "normalizer": self.norm.state_dict(),
            "args": self.args,
        }
        torch.save(checkpoint, self.folder / f"{self.name}_{name}.pt")


def start(network: Architecture, args: argparse.Namespace, folder: Path, targets: Tensor) -> Run:
    """A fresh model and optimizer; targets (B,) of the training part fix the normaliser."""
    model = network.new_model(vars(args))
    if args.optim == "SGD":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            model.parameters(), args.lr, momentum=args.momentum, weight_decay=args.weight_decay)
    else:
        optimizer = torch.optim.Adam(model.parameters(), args.lr, eps=args.eps, weight_decay=args.weight_decay)
    return Run(network, model, optimizer, Normaliser(targets), vars(args), folder)


def fit(run: Run, train: Split, val: Split) -> list[dict[str, float]]:
    """All epochs; saves `best`, the kept epoch and `final`, and returns one history row per epoch."""
    args = run.args
    rng, order = random.Random(args["seed"]), list(range(len(train.graphs)))
    schedule = torch.optim.lr_scheduler.MultiStepLR(run.optimizer, args["lr_milestones"], gamma=0.1)
    val_batches = list(val.batches(run, args["batch_size"]))
    history: list[dict[str, float]] = []
    best = float("inf")
    for epoch in range(1, args["epochs"] + 1):
        rng.shuffle(order)
        lr = run.optimizer.param_groups[0]["lr"]
        batches = train.batches(run, args["batch_size"], order)
        loss, train_mae = train_epoch(run.model, batches, run.norm, run.optimizer)
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


def describe(run: Run, samples: list[Sample], parts: dict[str, Split], best_epoch: int) -> dict[str, Any]:
    """The metadata of the best checkpoint, scored on crystals and on chemical systems it never met."""
    state = torch.load(run.folder / f"{run.name}_best.pt")["state_dict"]
    model = run.network.model_from_state(state, run.args)
    score = {}
    for name in ("test", "unseen"):
        part = parts[name]
        baseline = float((part.targets - parts["train"].targets.mean()).abs().mean())
        score[name] = [round(x, 4) for x in (*evaluate(model, part.batches(run, 256), run.norm), baseline)]
    used = {"epochs", "batch_size", "optim", "lr", "lr_milestones", "weight_decay", "seed"}
    used |= {*run.network.hyperparameters, "momentum" if run.args["optim"] == "SGD" else "eps"}
    charges = formal_charges(parts["train"].samples)
    return {
        "model_type": run.network.name,
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
        "graph": run.network.graph_settings(run.args),
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "prototypes": dict(Counter(s.prototype for s in samples)),
        "elements": sorted(charges),
        "formal_charges": charges,
    }


def formal_charges(samples: list[Sample]) -> dict[str, list[int]]:
    """Element symbol -> the formal charges it has in these crystals, elements by atomic number."""
    species = {site.specie for s in samples for site in s.structure}
    found: dict[str, list[int]] = {}
    for one in sorted(species, key=lambda sp: (sp.Z, sp.oxi_state)):
        found.setdefault(one.symbol, []).append(int(one.oxi_state))
    return found


def write_history(path: Path, run: dict[str, Any]) -> None:
    """Put a run among the others of the file, in the place of an earlier one of that model; an epoch a line."""
    runs = {old["model_name"]: old for old in (json.loads(path.read_text()) if path.exists() else [])}
    runs[run["model_name"]] = run
    texts = []
    for one in runs.values():
        rows = ",\n    ".join(json.dumps(row) for row in one["history"])
        text = json.dumps({**one, "history": 0}, indent=2)
        texts.append(text.replace('"history": 0', f'"history": [\n    {rows}\n  ]'))
    path.write_text("[\n" + textwrap.indent(",\n".join(texts), "  ") + "\n]\n")


def parse() -> tuple[Architecture, argparse.Namespace, Path]:
    """The network, options under upstream's names (they are saved), and the output folder (which is not)."""
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--model", choices=list(ARCHITECTURES), default="cgcnn", dest="network")
    network = ARCHITECTURES[first.parse_known_args()[0].network]
    p = argparse.ArgumentParser(description=__doc__, parents=[first])
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
    network.add_options(p)
    p.set_defaults(**network.training)
    args = p.parse_args()
    folder = args.out
    del args.out, args.network
    return network, args, folder


def main() -> None:
    network, args, folder = parse()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.time()
    samples = generate(args.size, args.seed)
    network.complete(args, list(formal_charges(samples)))
    graphs = [network.build(s.structure, vars(args)) for s in samples]
    parts = {name: Split(samples, graphs, index) for name, index in split(samples, args).items()}
    print(f"{len(samples)} crystals in {time.time() - began:.0f} s;", {k: len(v.graphs) for k, v in parts.items()})
    began = time.time()
    run = start(network, args, folder, parts["train"].targets)
    history = fit(run, parts["train"], parts["val"])
    seconds = round(time.time() - began)
    best = min(history, key=lambda row: row["val_mae"])
    metadata = describe(run, samples, parts, int(best["epoch"]))
    (folder / f"{run.name}_metadata.json").write_text(json.dumps(metadata, indent=2) + "\n")
    summary = {
        "model_name": run.name,
        "epochs": args.epochs,
        "best_val_mae": best["val_mae"],
        "training_time": seconds,
        "hyperparameters": metadata["hyperparameters"],
        "history": history,
    }
    write_history(folder / "training_history.json", summary)
    print(json.dumps({k: v for k, v in metadata.items() if "mae" in k or "r2" in k}), f"{seconds} s")


if __name__ == "__main__":
    main()
