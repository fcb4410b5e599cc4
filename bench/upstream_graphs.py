"""Graphs as upstream's Python builds them, for the bench's times from file to value: written from upstream's description.

ALIGNN (jarvis-tools): lists of neighbours over all images, then loops over atoms and bonds. MEGNet (matgl): pymatgen's
get_neighbor_list. CGCNN's is examples/train/graph.py. Units Å.
"""
import itertools
from collections import defaultdict

import numpy as np
import torch

from edge_graphs import SHORTEST, EdgeGraph, edge_graph


def jarvis_neighbours(lattice, frac, cutoff):
    """Per atom a list of (atom, other atom, distance, image) within `cutoff`: an array of distances for each image."""
    rounded = np.round(lattice, 5)  # atoms sit in this lattice, images are repeated by the other
    reciprocal = np.linalg.norm(np.round(2 * np.pi * np.linalg.inv(rounded).T, 5), axis=1)
    reach = np.ceil((cutoff + SHORTEST) * reciprocal / (2 * np.pi))
    low, high = np.floor(frac.min(axis=0)) - reach, np.ceil(frac.max(axis=0)) + reach
    places = np.dot(frac, rounded)
    indices = np.arange(len(places))
    found = [[] for _ in places]
    for image in itertools.product(*map(np.arange, low, high)):
        moved = np.dot(image, lattice) + places
        squares = (moved[:, None, :] - places[None, :, :]) ** 2
        distances = np.sqrt(np.sum(squares, axis=-1))
        for j, row, near in zip(indices, distances, (distances <= cutoff) & (distances > SHORTEST)):
            for i in indices[near]:
                found[i].append((i, j, row[i], image))
    return found


def jarvis_graph(structure, cutoff=8.0, most=12):
    """ALIGNN's k-nearest graph, canonised: of each atom all up to the distance of the 12th, every bond both ways."""
    lattice, frac = structure.lattice.matrix, structure.frac_coords
    found = jarvis_neighbours(lattice, frac, cutoff)
    if min(map(len, found)) < most:
        longest = np.linalg.norm(lattice, axis=1).max()
        return jarvis_graph(structure, longest if cutoff < longest else 2 * cutoff, most)
    edges = defaultdict(set)
    for i, neighbours in enumerate(found):
        neighbours = sorted(neighbours, key=lambda neighbour: neighbour[2])
        distances = np.array([neighbour[2] for neighbour in neighbours])
        others = np.array([neighbour[1] for neighbour in neighbours])
        images = np.array([neighbour[3] for neighbour in neighbours])
        kept = distances <= distances[most - 1]
        for j, image in zip(others[kept], images[kept]):
            if j < i:
                edges[(j, i)].add(tuple(-image))
            else:
                edges[(i, j)].add(tuple(image))
    rounded = np.round(lattice, 5)
    source, receiver, vectors = [], [], []
    for (i, j), images in edges.items():
        for image in images:
            vector = np.dot(frac[j] + image - frac[i], rounded)
            source += [i, j]
            receiver += [j, i]
            vectors += [vector, -vector]
    numbers = np.array([site.specie.Z for site in structure], dtype=np.int64)
    return edge_graph(numbers, np.array(source), np.array(receiver), np.array(vectors))


def matgl_graph(structure, cutoff):
    """MEGNet's: every pair within `cutoff` from pymatgen's arrays, lengths computed anew from vectors in torch."""
    lattice, frac = structure.lattice.matrix, structure.frac_coords
    source, receiver, images, distances = structure.get_neighbor_list(cutoff)
    kept = (source != receiver) | (distances > 1e-8)
    source, receiver, images = source[kept], receiver[kept], images[kept]
    numbers = np.array([site.specie.Z for site in structure], dtype=np.int64)
    positions = torch.tensor(frac @ lattice, dtype=torch.float32)
    offsets = torch.tensor(images, dtype=torch.float32) @ torch.tensor(lattice, dtype=torch.float32)
    vectors = positions[torch.tensor(receiver)] + offsets - positions[torch.tensor(source)]
    lengths = torch.linalg.norm(vectors, dim=1).numpy()
    order = np.argsort(receiver, kind="stable")
    return EdgeGraph(numbers, source[order].astype(np.int64), receiver[order].astype(np.int64), lengths[order])


def upstream_graph(architecture, args, structure):
    """The graph of a structure as the architecture's own Python would make it."""
    if architecture.name == "alignn":
        return jarvis_graph(structure)
    if architecture.name == "megnet":
        return matgl_graph(structure, args.get("cutoff", 4.0))
    return architecture.build(structure, args)
