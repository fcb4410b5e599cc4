"""Write test/fixtures/ionic-predictions.json: what PyTorch says about examples/structures, for the JavaScript tests.

CGCNN's neighbour cut at 12 is arbitrary where the 12th and 13th neighbours are equally far, so each file also gets the
smallest and largest prediction over random orders of equal distances. ALIGNN's cut goes by exact distance, so that
rounding decides which equal neighbours are kept; such files also get the prediction with the whole shell.
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
from torch import nn

from architectures import ARCHITECTURES, recognise
from dataset import ewald_energy
from edge_graphs import SYMMETRIC
from graph import REPO, TIE, cut, neighbour_lists, shuffle_ties
from structures import FOLDER

SAVED = REPO / "examples/saved_models"
TARGET = REPO / "test/fixtures/ionic-predictions.json"
TIE_ORDERS = 100
CHARGES = {"Li": 1, "Na": 1, "Cs": 1, "Cu": 1, "Mg": 2, "Ca": 2, "Sr": 2, "Zn": 2, "Al": 3, "Ti": 4,
           "F": -1, "Cl": -1, "O": -2, "S": -2}  # formal charges of the examples' elements
SHARED_FIELDS = {
    "f32": "prediction, model and features in float32, denormalised in float64, eV/atom",
    "f64": "prediction with model.double() and float64 {features}, eV/atom",
    "raw_f64": "model output before value = raw * std + mean",
}
FIELDS = {
    "tie_min, tie_max": "float64 range over random orders of equal neighbour distances, pymatgen's order included",
    "cut_tie_atoms": "atoms whose 12th and 13th neighbours tie, so that the neighbour set is arbitrary",
    "ewald": "the label: Ewald energy with the formal charges below, eV/atom",
}
EDGE_FIELDS = {"edges": "directed edges of the graph", "line_edges": "pairs of them, in alignn's line graph"}
SHELL_FIELDS = {
    "rounding_sensitive": f"whether neighbours up to {SYMMETRIC} Å beyond the 12th add edges: rounding cut a shell",
    "symmetric_f64, symmetric_f32, symmetric_edges, symmetric_line_edges":
        "where they do, the same on the graph with those edges",
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
    """A checkpoint in both precisions."""

    def __init__(self, name: str) -> None:
        path = SAVED / f"{name}_ionic_best.pt"
        checkpoint = torch.load(path)
        self.args = checkpoint["args"]
        self.mean, self.std = (float(checkpoint["normalizer"][k]) for k in ("mean", "std"))
        self.network = recognise(checkpoint["state_dict"])
        self.single = self.network.model_from_state(checkpoint["state_dict"], self.args)
        self.double = self.network.model_from_state(checkpoint["state_dict"], self.args).double()
        self.head = {
            "checkpoint": path.name,
            "epoch": checkpoint["epoch"],
            "normalizer": {"mean": self.mean, "std": self.std},
        }

    @torch.no_grad()
    def values(self, model: nn.Module, graphs: list[Any]) -> list[float]:
        """eV/atom, one per graph, one crystal per batch; denormalised in float64."""
        dtype = next(model.parameters()).dtype
        return [float(model(self.network.collate([g], self.args, dtype))) * self.std + self.mean for g in graphs]

    def predictions(self, graph: Any) -> dict[str, float]:
        """What every network has in the fixture."""
        f32, f64 = self.values(self.single, [graph])[0], self.values(self.double, [graph])[0]
        return {"f32": f32, "f64": f64, "raw_f64": (f64 - self.mean) / self.std}


def cgcnn_entry(reference: Reference, structure: Structure) -> dict[str, Any]:
    """Predictions, their range over ties, and what does not depend on the network."""
    settings = reference.network.settings(reference.args)
    numbers = [site.specie.Z for site in structure]
    lists = neighbour_lists(structure, settings.radius)
    rng, m = random.Random(len(structure)), settings.max_num_nbr
    orders = [lists] + [[shuffle_ties(nbrs, rng) for nbrs in lists] for _ in range(TIE_ORDERS)]
    graphs = [cut(numbers, order, settings) for order in orders]
    f64 = reference.values(reference.double, graphs)
    charged = structure.copy()
    charged.add_oxidation_state_by_element({s: CHARGES[s] for s in structure.symbol_set})
    return {
        "formula": structure.composition.formula,
        "natoms": len(structure),
        **reference.predictions(graphs[0]),
        "tie_min": min(f64),
        "tie_max": max(f64),
        "cut_tie_atoms": sum(len(n) > m and n[m][0] - n[m - 1][0] <= TIE for n in lists),
        "ewald": round(ewald_energy(charged), 6),
    }


def alignn_entry(reference: Reference, structure: Structure) -> dict[str, Any]:
    """Predictions on upstream's graph, and on the one with whole shells where that is another."""
    graph = reference.network.build(structure, reference.args)
    whole = reference.network.build(structure, {**reference.args, "shell_tolerance": SYMMETRIC})
    entry = {**reference.predictions(graph), "edges": len(graph.source), "line_edges": len(graph.line.source)}
    entry["rounding_sensitive"] = len(whole.source) != len(graph.source)
    if entry["rounding_sensitive"]:
        entry |= {f"symmetric_{key}": value for key, value in reference.predictions(whole).items() if key != "raw_f64"}
        entry |= {"symmetric_edges": len(whole.source), "symmetric_line_edges": len(whole.line.source)}
    return entry


def megnet_entry(reference: Reference, structure: Structure) -> dict[str, Any]:
    """Predictions and the number of edges."""
    graph = reference.network.build(structure, reference.args)
    return {**reference.predictions(graph), "edges": len(graph.source)}


def shared_fields(features: str) -> dict[str, str]:
    return {key: text.format(features=features) for key, text in SHARED_FIELDS.items()}


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    structures = {path.name: read(path) for path in sorted(FOLDER.iterdir())}
    entry_of = {"cgcnn": cgcnn_entry, "alignn": alignn_entry, "megnet": megnet_entry}
    references = {name: Reference(name) for name in ARCHITECTURES}
    entries = {name: {file: entry_of[name](one, structure) for file, structure in structures.items()}
               for name, one in references.items()}
    for file, e in entries["cgcnn"].items():
        print(f"{file:24s} Ewald {e['ewald']:9.4f}  cgcnn {e['f64']:9.4f}, {e['cut_tie_atoms']} atoms cut in a tie, which"
              f" moves it by {e['tie_max'] - e['tie_min']:.1e}; "
              + ", ".join(f"{name} {entries[name][file]['f64']:9.4f}" for name in ("alignn", "megnet"))
              + (f", {entries['alignn'][file]['symmetric_f64']:9.4f} with whole shells"
                 if entries["alignn"][file]["rounding_sensitive"] else ""))
    for name, one in entries.items():
        print(f"{name}: largest |f32 - f64| {max(abs(e['f32'] - e['f64']) for e in one.values()):.1e}")
    fixture = {
        **references["cgcnn"].head,
        "tie_orders": TIE_ORDERS,
        "fields": {**shared_fields("Gaussian features"), **FIELDS},
        "formal_charges": CHARGES,
        "structures": entries["cgcnn"],
        "alignn": {**references["alignn"].head,
                   "fields": {**shared_fields("lengths and cosines"), **EDGE_FIELDS, **SHELL_FIELDS},
                   "structures": entries["alignn"]},
        "megnet": {**references["megnet"].head,
                   "fields": {**shared_fields("lengths"), "edges": EDGE_FIELDS["edges"]},
                   "structures": entries["megnet"]},
    }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(fixture, indent=1) + "\n")


if __name__ == "__main__":
    main()
