"""Write test/fixtures/ionic-predictions.json: what PyTorch says about examples/structures, for the JavaScript tests.

The neighbour cut at 12 is arbitrary where the 12th and 13th neighbours are equally far, so each file also gets the
smallest and largest prediction over random orders of equal distances.
"""
from __future__ import annotations

import json
import os
import random
import warnings
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch loads: the number of threads changes the last bits
import torch
from pymatgen.core import Structure

from cgcnn import CrystalGraphConvNet, model_from_state, predict
from dataset import ewald_energy
from graph import REPO, TIE, Graph, GraphSettings, cut, element_rows, neighbour_lists, shuffle_ties
from structures import FOLDER

CHECKPOINT = REPO / "examples/saved_models/cgcnn_ionic_best.pt"
TARGET = REPO / "test/fixtures/ionic-predictions.json"
TIE_ORDERS = 100
CHARGES = {"Li": 1, "Na": 1, "Cs": 1, "Cu": 1, "Mg": 2, "Ca": 2, "Sr": 2, "Zn": 2, "Al": 3, "Ti": 4,
           "F": -1, "Cl": -1, "O": -2, "S": -2}  # formal charges of the examples' elements
FIELDS = {
    "f32": "prediction, model and features in float32, denormalised in float64, eV/atom",
    "f64": "prediction with model.double() and float64 Gaussian features, eV/atom",
    "raw_f64": "model output before value = raw * std + mean",
    "tie_min, tie_max": "float64 range over random orders of equal neighbour distances, pymatgen's order included",
    "cut_tie_atoms": "atoms whose 12th and 13th neighbours tie, so that the neighbour set is arbitrary",
    "ewald": "the label: Ewald energy with the formal charges below, eV/atom",
}


def read(path: Path) -> Structure:
    """A structure file; of extended XYZ only the form structures.py writes."""
    if path.suffix != ".extxyz":
        return Structure.from_file(path)
    _, comment, *lines = path.read_text().splitlines()
    lattice = [float(x) for x in comment.split('"')[1].split()]
    atoms = [line.split() for line in lines]
    coords = [[float(x) for x in atom[1:]] for atom in atoms]
    return Structure([lattice[i : i + 3] for i in (0, 3, 6)], [a[0] for a in atoms], coords, coords_are_cartesian=True)


class Reference:
    """The checkpoint in both precisions."""

    def __init__(self, path: Path) -> None:
        checkpoint = torch.load(path)
        args = checkpoint["args"]
        self.settings = GraphSettings(args["radius"], args["max_num_nbr"], args["dmin"], args["step"])
        self.mean, self.std = (float(checkpoint["normalizer"][k]) for k in ("mean", "std"))
        self.epoch = checkpoint["epoch"]
        self.single = model_from_state(checkpoint["state_dict"])
        self.double = model_from_state(checkpoint["state_dict"]).double()
        self.rows = torch.from_numpy(element_rows())

    def values(self, model: CrystalGraphConvNet, graphs: list[Graph]) -> list[float]:
        """eV/atom, one per graph; denormalised in float64."""
        return [raw * self.std + self.mean for raw in predict(model, graphs, self.settings, self.rows).tolist()]

    def describe(self, structure: Structure) -> dict[str, Any]:
        """One entry of the fixture."""
        numbers = [site.specie.Z for site in structure]
        lists = neighbour_lists(structure, self.settings.radius)
        rng, m = random.Random(len(structure)), self.settings.max_num_nbr
        orders = [lists] + [[shuffle_ties(nbrs, rng) for nbrs in lists] for _ in range(TIE_ORDERS)]
        graphs = [cut(numbers, order, self.settings) for order in orders]
        f64 = self.values(self.double, graphs)
        charged = structure.copy()
        charged.add_oxidation_state_by_element({s: CHARGES[s] for s in structure.symbol_set})
        return {
            "formula": structure.composition.formula,
            "natoms": len(structure),
            "f32": self.values(self.single, graphs[:1])[0],
            "f64": f64[0],
            "raw_f64": (f64[0] - self.mean) / self.std,
            "tie_min": min(f64),
            "tie_max": max(f64),
            "cut_tie_atoms": sum(len(n) > m and n[m][0] - n[m - 1][0] <= TIE for n in lists),
            "ewald": round(ewald_energy(charged), 6),
        }


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    reference = Reference(CHECKPOINT)
    entries = {path.name: reference.describe(read(path)) for path in sorted(FOLDER.iterdir())}
    for name, e in entries.items():
        spread = e["tie_max"] - e["tie_min"]
        print(f"{name:24s} predicted {e['f64']:9.4f}  Ewald {e['ewald']:9.4f}  f32-f64 {e['f32'] - e['f64']:8.1e}"
              f"  tie spread {spread:.1e}, {e['cut_tie_atoms']} atoms cut in a tie")
    head = {
        "checkpoint": CHECKPOINT.name,
        "epoch": reference.epoch,
        "normalizer": {"mean": reference.mean, "std": reference.std},
        "tie_orders": TIE_ORDERS,
        "fields": FIELDS,
        "formal_charges": CHARGES,
        "structures": entries,
    }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(head, indent=1) + "\n")


if __name__ == "__main__":
    main()
