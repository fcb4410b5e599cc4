"""Checkpoints as training scripts of several kinds save them, and the lines that `unitcell resume-info` prints for them.

  version        of torch, as JSON
  save FOLDER    a folder for each kind, with one checkpoint in it
  run            a JSON list of [name, lines] on stdin: executes each on a new model, optimizer and scheduler; prints for each
                 name why it failed, or what differs from what was saved (nothing: "")
"""

import argparse
import json
import os
import random
import sys
import warnings

import numpy
import torch
from torch import nn


class Training:
    """The same after the same number of steps."""

    def __init__(self, steps):
        torch.manual_seed(3)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Softplus(), nn.Linear(8, 1))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.scheduler = torch.optim.lr_scheduler.MultiStepLR(self.optimizer, milestones=[2, 4])
        for _ in range(steps):
            loss = self.model(torch.randn(16, 4)).pow(2).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
        self.rng = torch.get_rng_state()


def layouts(t):
    weights, optimizer, scheduler = (each.state_dict() for each in (t.model, t.optimizer, t.scheduler))
    numbers = {"torch": t.rng, "numpy": numpy.random.get_state(), "python": random.getstate()}
    cgcnn = {"epoch": 3, "state_dict": weights, "best_mae_error": 0.5, "optimizer": optimizer, "args": {"lr": 0.01}}
    several = {"epoch": 3, "model": weights, "optimizer": optimizer, "scheduler": scheduler}
    return {
        "weights": ("net_epoch3.pt", weights),
        "cgcnn": ("checkpoint.pth.tar", cgcnn),
        "generator": ("net_epoch3.pt", {**several, "rng_state": t.rng}),
        "argparse": ("net_epoch3.pt", {**cgcnn, "args": argparse.Namespace(lr=0.01)}),
        "numpy": (
            "net_epoch3.pth",
            {
                "epoch": numpy.int64(3),
                "val_mae": numpy.float64(0.5),
                "model_state_dict": weights,
                "optimizer_state_dict": optimizer,
                "scheduler_state_dict": scheduler,
                "rng": numbers,
            },
        ),
    }


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return a == b


def outcome(lines):
    t = Training(0)
    code = "\n".join(lines)
    names = {"torch": torch, "model": t.model, "optimizer": t.optimizer, "scheduler": t.scheduler}
    saved = Training(3)
    torch.manual_seed(99)
    try:
        exec(code, names)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    wrong = [] if names["epoch"] == 3 else ["epoch"]
    for part in ("model", "optimizer", "scheduler"):
        if f"{part}.load" in code and not same(names[part].state_dict(), getattr(saved, part).state_dict()):
            wrong.append(part)
    if "set_rng_state" in code and not torch.equal(torch.get_rng_state(), saved.rng):
        wrong.append("rng")
    return ", ".join(wrong)


def main(command, *args):
    warnings.simplefilter("ignore")
    if command == "version":
        return torch.__version__
    if command == "save":
        for kind, (name, value) in layouts(Training(3)).items():
            os.makedirs(os.path.join(args[0], kind))
            torch.save(value, os.path.join(args[0], kind, name))
        return None
    return {name: outcome(lines) for name, lines in json.load(sys.stdin)}


print(json.dumps(main(*sys.argv[1:])))
