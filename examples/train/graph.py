"""Crystal graphs as CGCNN builds them: the 12 nearest neighbours within 8 Å, Gaussian distance features.

Shapes: N atoms, M neighbours per atom, K Gaussian centres.
"""
from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pymatgen.core import Structure

REPO = Path(__file__).resolve().parents[2]
TIE = 1e-8  # Å; neighbour distances closer than this count as equal


@dataclass(frozen=True)
class GraphSettings:
    """What decides a graph. Lengths in Å."""

    radius: float = 8
    max_num_nbr: int = 12
    dmin: float = 0
    step: float = 0.2


@dataclass
class Graph:
    """One crystal."""

    numbers: np.ndarray  # (N,) int64, atomic numbers
    nbr_idx: np.ndarray  # (N, M) int64
    nbr_dist: np.ndarray  # (N, M) float64, Å


def element_rows() -> np.ndarray:
    """(100, 92) float64 zeros and ones, row Z - 1, from the table the package ships."""
    table = json.loads((REPO / "src/graphs/atom-init.json").read_text())
    columns = table["columns"]
    # 92 bits fill 23 hex digits exactly, so the highest bit is the first column.
    return np.array([[int(bit) for bit in f"{int(row, 16):0{columns}b}"] for row in table["rows"]], dtype=float)


def neighbour_lists(structure: Structure, radius: float) -> list[list[tuple[float, int]]]:
    """Per atom every (distance Å, index) within `radius`, nearest first; equal distances keep pymatgen's order."""
    found = structure.get_all_neighbors(radius, include_index=True)
    return [sorted(((float(n.nn_distance), int(n.index)) for n in nbrs), key=lambda n: n[0]) for nbrs in found]


def shuffle_ties(nbrs: list[tuple[float, int]], rng: random.Random) -> list[tuple[float, int]]:
    """The same list with each run of equal distances (chained, within TIE) in random order."""
    out: list[tuple[float, int]] = []
    start = 0
    for i in range(1, len(nbrs) + 1):
        if i == len(nbrs) or nbrs[i][0] - nbrs[i - 1][0] > TIE:
            run = nbrs[start:i]
            rng.shuffle(run)
            out += run
            start = i
    return out


def cut(numbers: list[int], lists: list[list[tuple[float, int]]], settings: GraphSettings) -> Graph:
    """Keep the first M neighbours; short lists are padded with index 0 at radius + 1 Å, as upstream does."""
    m = settings.max_num_nbr
    padded = [(nbrs + [(settings.radius + 1.0, 0)] * m)[:m] for nbrs in lists]
    return Graph(
        numbers=np.array(numbers, dtype=np.int64),
        nbr_idx=np.array([[j for _, j in row] for row in padded], dtype=np.int64),
        nbr_dist=np.array([[d for d, _ in row] for row in padded], dtype=float),
    )


def build_graph(structure: Structure, settings: GraphSettings = GraphSettings()) -> Graph:
    """The graph of a structure, ties in pymatgen's order."""
    return cut([site.specie.Z for site in structure], neighbour_lists(structure, settings.radius), settings)


def centres(settings: GraphSettings) -> np.ndarray:
    """(K,) Gaussian centres in Å, `dmin` to `radius` inclusive: 41 for the usual settings."""
    return np.arange(settings.dmin, settings.radius + settings.step, settings.step)


def gaussian_features(dist: np.ndarray, settings: GraphSettings) -> np.ndarray:
    """(..., K) float64: exp(-(d - centre)² / step²) of distances (...) in Å."""
    return np.exp(-((dist[..., None] - centres(settings)) ** 2) / settings.step**2)
