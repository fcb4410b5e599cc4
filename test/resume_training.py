"""A small training in real PyTorch, with everything that a resumed one must get back: dropout and shuffling (RNG state),
AdamW (moments), OneCycleLR (schedule). Losses are printed as hexadecimal floats, so that curves are compared bit for bit.

  versions                          JSON of versions
  train FOLDER LAST                 epochs 1..LAST; saves FOLDER/mlp_toy_epoch<N>.pt, the best, and training_history.json as a
                                    person would; prints the curve, [[epoch, loss, val_mae], ...]
  finish FILE...                    goes on from each file to the last epoch; prints their curves; without files the whole curve
  serve [FILE]                      reads lines {"to": FILE} and trains one epoch each, saved to that file; prints [epoch, loss, val_mae]
  load FILE                         what torch.load gives of a file that unitcell wrote: types and numbers as JSON
"""

import json
import os
import random
import sys

import torch
from torch import nn

TOTAL = 60
STEPS = 4
IS_2 = int(torch.__version__.split(".")[0]) >= 2


def read(path):
    # 1.13's weights_only refuses every Python float.
    return torch.load(path, weights_only=True) if IS_2 else torch.load(path)


class Training:
    def __init__(self):
        torch.set_num_threads(1)
        torch.manual_seed(7)
        random.seed(7)
        self.x = torch.randn(64, 6)
        self.y = (self.x[:, :1] * self.x[:, 1:2]).sin()
        self.net = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Softplus(), nn.Dropout(0.2), nn.Linear(16, 1))
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-2, weight_decay=1e-3)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, max_lr=0.03, total_steps=TOTAL * STEPS)
        self.epoch = 0

    def state(self, val_mae):
        # The scheduler of torch 1.13 holds a method of itself in its state, and with it all of its objects.
        scheduler = {k: v for k, v in self.scheduler.state_dict().items() if k != "anneal_func"}
        return {
            "epoch": self.epoch,
            "state_dict": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": scheduler,
            "rng_state": {"torch": torch.get_rng_state(), "python": random.getstate()},
            "val_mae": val_mae,
        }

    def restore(self, path):
        found = read(path)
        self.epoch = found["epoch"]
        self.net.load_state_dict(found["state_dict"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.scheduler.load_state_dict(found["scheduler"])
        torch.set_rng_state(found["rng_state"]["torch"])
        version, internal, gauss = found["rng_state"]["python"]
        random.setstate((version, tuple(internal), gauss))

    def step(self):
        self.epoch += 1
        order = list(range(64))
        random.shuffle(order)
        self.net.train()
        total = 0.0
        for part in torch.tensor(order).reshape(STEPS, 16):
            self.optimizer.zero_grad()
            loss = nn.functional.mse_loss(self.net(self.x[part]), self.y[part])
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            total += loss.item()
        self.net.eval()
        with torch.no_grad():
            val_mae = (self.net(self.x) - self.y).abs().mean().item()
        return total, val_mae


def write_history(folder, rows):
    best = min(row["val_mae"] for row in rows)
    history = {
        "model_name": "mlp_toy",
        "epochs": len(rows),
        "best_val_mae": best,
        "training_time": 1,
        "hyperparameters": {"lr": 1e-2},
        "history": rows,
    }
    with open(os.path.join(folder, "training_history.json"), "w") as file:
        json.dump(history, file, indent=2)


def train(folder, last):
    training = Training()
    best = float("inf")
    curve, rows = [], []
    while training.epoch < last:
        loss, val_mae = training.step()
        curve.append([training.epoch, loss.hex(), val_mae.hex()])
        rows.append({"epoch": training.epoch, "loss": loss, "val_mae": val_mae})
        state = training.state(val_mae)
        torch.save(state, os.path.join(folder, f"mlp_toy_epoch{training.epoch}.pt"))
        if val_mae < best:
            best = val_mae
            torch.save(state, os.path.join(folder, "mlp_toy_best.pt"))
    write_history(folder, rows)
    return curve


def finish(path=None):
    training = Training()
    if path:
        training.restore(path)
    curve = []
    while training.epoch < TOTAL:
        loss, val_mae = training.step()
        curve.append([training.epoch, loss.hex(), val_mae.hex()])
    return curve


def serve(path=None):
    training = Training()
    if path:
        training.restore(path)
    for line in sys.stdin:
        loss, val_mae = training.step()
        torch.save(training.state(val_mae), json.loads(line)["to"])
        print(json.dumps([training.epoch, loss.hex(), val_mae.hex()]), flush=True)


def load(path):
    found = read(path)
    print(
        json.dumps(
            {
                "keys": list(found),
                "metrics": {name: [type(value).__name__, value] for name, value in found["metrics"].items()},
                "epoch": type(found["epoch"]).__name__,
                "unitcell": list(found["unitcell"]),
                "betas": type(found["optimizer"]["param_groups"][0]["betas"]).__name__ if found["optimizer"] else None,
            }
        )
    )


if __name__ == "__main__":
    command, *args = sys.argv[1:]
    if command == "versions":
        print(json.dumps({"torch": torch.__version__, "python": sys.version.split()[0]}))
    elif command == "train":
        print(json.dumps(train(args[0], int(args[1]))))
    elif command == "finish":
        print(json.dumps([finish(path) for path in args] or finish()))
    elif command == "serve":
        serve(*args)
    elif command == "load":
        load(args[0])
