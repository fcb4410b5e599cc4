"""Crystal graphs made of directed edges: ALIGNN's nearest neighbours with their line graph, and MEGNet's radius graph.

An edge runs from `source` to `receiver`, and its vector is the receiver's position minus the source's. Everything here
is float64 and vectorised over edges. Shapes: B crystals, N atoms, E edges, T line edges (pairs of edges), F features.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from pymatgen.core import Structure
from torch import Tensor
from torch.nn import functional

SHORTEST = 0.15  # Å; ALIGNN takes anything nearer for the atom itself
SYMMETRIC = 1e-4  # Å; tolerance with which a shell of equal distances is kept whole in ordinary crystal data


@dataclass(frozen=True)
class NearestSettings:
    """ALIGNN's `k-nearest` strategy, in upstream's words. Lengths in Å."""

    cutoff: float = 8.0
    max_neighbors: int = 12
    use_canonize: bool = True
    shell_tolerance: float = 0.0  # ours: also keep what lies this little beyond the last neighbour; upstream has 0


@dataclass
class EdgeGraph:
    """One crystal. Edges are sorted by receiver."""

    numbers: np.ndarray  # (N,) int64, atomic numbers
    source: np.ndarray  # (E,) int64
    receiver: np.ndarray  # (E,) int64, ascending
    lengths: np.ndarray  # (E,) float64, Å
    vectors: np.ndarray | None = None  # (E, 3) float64, Å; without them there is no line graph

    @cached_property
    def line(self) -> LineGraph:
        return line_graph(self)


@dataclass
class LineGraph:
    """Line edges e1 -> e2 where e1 ends at the atom e2 leaves from, e1 != e2, turning back included."""

    source: np.ndarray  # (T,) int64, edge e1
    receiver: np.ndarray  # (T,) int64, edge e2, ascending
    cosines: np.ndarray  # (T,) float64, of the angle between the two bonds at the shared atom


def edge_graph(numbers: np.ndarray, source: np.ndarray, receiver: np.ndarray, vectors: np.ndarray) -> EdgeGraph:
    """A graph of edges in any order: numbers (N,), source and receiver (E,), vectors (E, 3) in Å."""
    order = np.argsort(receiver, kind="stable")
    vectors = vectors[order]
    return EdgeGraph(numbers, source[order], receiver[order], np.sqrt((vectors**2).sum(axis=1)), vectors)


def line_graph(graph: EdgeGraph) -> LineGraph:
    """All line edges. Those into edge e2 are the run of edges that end at source(e2), since edges are sorted so."""
    if graph.vectors is None:
        raise ValueError("a line graph needs edge vectors, this graph has lengths only")
    starts = np.searchsorted(graph.receiver, np.arange(len(graph.numbers) + 1))
    counts = np.diff(starts)[graph.source]  # (E,) edges that end where each edge leaves
    receiver = np.repeat(np.arange(len(graph.source)), counts)
    place = np.arange(len(receiver)) - np.repeat(np.cumsum(counts) - counts, counts)
    source = starts[graph.source[receiver]] + place
    other = source != receiver  # a bond of an atom to its own image would follow itself
    source, receiver = source[other], receiver[other]
    dots = -(graph.vectors[source] * graph.vectors[receiver]).sum(axis=1)
    return LineGraph(source, receiver, np.clip(dots / (graph.lengths[source] * graph.lengths[receiver]), -1, 1))


def _times(lattice: np.ndarray, coords: np.ndarray) -> np.ndarray:
    """(..., 3) coords . lattice, summed left to right without fused operations, which no matrix product promises."""
    return (coords[..., :1] * lattice[0] + coords[..., 1:2] * lattice[1]) + coords[..., 2:] * lattice[2]


def _dot(rows: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """(N, 3) rows . lattice with fused operations, as upstream's numpy.dot has them on a processor with AVX-512. On
    others it fuses two rows or more, but not one; so there are always more."""
    return np.dot(np.concatenate([rows, rows]), lattice)[: len(rows)]


def _lengths(vectors: np.ndarray) -> np.ndarray:
    """(...,) Å of vectors (..., 3), summed left to right."""
    squares = vectors * vectors
    return np.sqrt((squares[..., 0] + squares[..., 1]) + squares[..., 2])


def _lengths_to_6(lattice: np.ndarray) -> np.ndarray:
    """(3,) lengths of a lattice's vectors, to 6 decimals as upstream has them."""
    return np.array([round(float(length), 6) for length in np.linalg.norm(lattice, axis=1)])


def _span(lattice: np.ndarray, reach: float) -> np.ndarray:
    """(3,) cells to go along each axis so as to cover `reach` Å."""
    return np.ceil(reach * np.linalg.norm(np.linalg.inv(lattice), axis=0))


def _cells(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(P, 3) float64: all whole-numbered cells from `low` up to but excluding `high`, both (3,)."""
    return np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), axis=-1).reshape(-1, 3)


def _nearest(lattice: np.ndarray, frac: np.ndarray, cutoff: float, settings: NearestSettings) -> list | None:
    """Per atom i the kept (j, image) as arrays, or None where some atom has too few neighbours within `cutoff`."""
    rounded = np.round(lattice, 5)  # upstream's quirk: atoms sit in this one, their images are repeated by `lattice`
    reciprocal = _lengths_to_6(np.round(2 * np.pi * np.linalg.inv(rounded).T, 5)) / (2 * np.pi)
    span = np.ceil((cutoff + SHORTEST) * reciprocal)
    images = _cells(np.floor(frac.min(axis=0)) - span, np.ceil(frac.max(axis=0)) + span)  # upstream's range
    places = _dot(frac, rounded)
    points = (_dot(images, lattice)[:, None, :] + places).reshape(-1, 3)  # (P * N, 3)
    kept = []
    for place in places:
        dist = _lengths(points - place)
        near = np.flatnonzero((dist <= cutoff) & (dist > SHORTEST))
        if len(near) < settings.max_neighbors:
            return None
        last = np.partition(dist[near], settings.max_neighbors - 1)[settings.max_neighbors - 1]
        near = near[dist[near] <= last + settings.shell_tolerance]
        kept.append((near % len(frac), images[near // len(frac)]))
    return kept


def nearest_graph(structure: Structure, settings: NearestSettings = NearestSettings()) -> EdgeGraph:
    """
    ALIGNN's graph: of each atom the neighbours up to the distance of the 12th, then every bond in both directions.

    Which members of a shell of equal distances lie "up to the 12th" is decided by rounding, so the arithmetic of
    `_nearest` follows upstream's operation by operation; with it the edge sets agree. So does the range of images,
    which misses some where coordinates spread over several cells. Where an atom has fewer neighbours the cutoff grows,
    without limit, as upstream's does.
    """
    lattice, frac, cutoff = structure.lattice.matrix, structure.frac_coords, settings.cutoff
    while (kept := _nearest(lattice, frac, cutoff, settings)) is None:
        longest = _lengths_to_6(np.round(lattice, 5)).max()
        cutoff = longest if cutoff < longest else 2 * cutoff
    source = np.concatenate([np.full(len(j), i) for i, (j, _) in enumerate(kept)])
    receiver = np.concatenate([j for j, _ in kept])
    image = np.concatenate([image for _, image in kept])
    if settings.use_canonize:
        # A bond seen from both ends is one bond. One of an atom to its own image is not turned round, so it stays two.
        swap = receiver < source
        source, receiver = np.where(swap, receiver, source), np.where(swap, source, receiver)
        image[swap] *= -1
    bonds = np.unique(np.column_stack([source, receiver, image]), axis=0)
    source, receiver = bonds[:, 0].astype(np.int64), bonds[:, 1].astype(np.int64)
    vectors = _times(np.round(lattice, 5), frac[receiver] + bonds[:, 2:] - frac[source])
    return edge_graph(_numbers(structure), np.concatenate([source, receiver]), np.concatenate([receiver, source]),
                      np.concatenate([vectors, -vectors]))


def radius_graph(structure: Structure, cutoff: float) -> EdgeGraph:
    """MEGNet's graph: every pair with d² < cutoff² + 1e-8, an atom's own images included. Lengths in Å."""
    lattice, frac = structure.lattice.matrix, structure.frac_coords
    span = _span(lattice, cutoff + 1e-3) + np.ceil(np.ptp(frac, axis=0))  # coordinates are not wrapped into one cell
    images = _cells(-span, span + 1)
    source, receiver, image = [], [], []
    for i in range(len(frac)):
        vectors = _times(lattice, images[:, None, :] + (frac - frac[i]))  # (P, N, 3)
        squared = (vectors**2).sum(axis=-1)
        cell, j = np.nonzero((squared < cutoff**2 + 1e-8) & (squared > 1e-16))
        source.append(np.full(len(j), i))
        receiver.append(j)
        image.append(images[cell])
    source, receiver = np.concatenate(source), np.concatenate(receiver)
    vectors = _times(lattice, frac[receiver] + np.concatenate(image) - frac[source])
    return edge_graph(_numbers(structure), source, receiver, vectors)


def _numbers(structure: Structure) -> np.ndarray:
    return np.array([site.specie.Z for site in structure], dtype=np.int64)


class _Gather(torch.autograd.Function):
    """Rows of a table; the gradient is the sum over the places a row went to."""

    @staticmethod
    def forward(ctx, x: Tensor, rows: Rows) -> Tensor:
        ctx.rows = rows
        return functional.embedding(rows.index, x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.rows.sum_of(grad.contiguous()), None


class _Total(torch.autograd.Function):
    """Sum per table row; the gradient goes to every member."""

    @staticmethod
    def forward(ctx, x: Tensor, rows: Rows) -> Tensor:
        ctx.rows = rows
        return rows.sum_of(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return functional.embedding(ctx.rows.index, grad.contiguous()), None


class Rows:
    """
    A many-to-one map: member e belongs to row index[e] of a table. Same as x[index] and index_add, but through
    PyTorch's embedding kernels, which are about ten times as fast on one CPU thread, forward and backward.
    """

    def __init__(self, index: np.ndarray, count: int, ascending: bool) -> None:
        """index (E,) int64 below `count`; `ascending` says that it is sorted."""
        self.index, self.count = torch.from_numpy(index), count
        self._ascending = ascending

    @cached_property
    def sizes(self) -> Tensor:
        """(count,) int64 members per row."""
        return torch.bincount(self.index, minlength=self.count)

    @cached_property
    def _order(self) -> tuple[Tensor, Tensor]:
        """Members by row, (E,), and where each row's begin, (count,)."""
        members = torch.arange(len(self.index)) if self._ascending else torch.argsort(self.index, stable=True)
        return members, torch.cumsum(self.sizes, 0) - self.sizes

    def sum_of(self, x: Tensor) -> Tensor:
        """(count, F) from x (E, F), in member order; no gradient."""
        members, starts = self._order
        return functional.embedding_bag(members, x, starts, mode="sum")

    def gather(self, x: Tensor) -> Tensor:
        """(E, F) from a table x (count, F)."""
        return _Gather.apply(x, self)

    def total(self, x: Tensor) -> Tensor:
        """(count, F) from members x (E, F); a row without members is 0."""
        return _Total.apply(x, self)

    def mean(self, x: Tensor) -> Tensor:
        """(count, F) from members x (E, F); a row without members is 0."""
        return self.total(x) / self.sizes.clamp(min=1).to(x.dtype)[:, None]

    def softmax(self, x: Tensor) -> Tensor:
        """(E, 1) from x (E, 1): softmax over the members of each row."""
        scores = x.detach()[:, 0]
        peak = scores.new_zeros(self.count).scatter_reduce(0, self.index, scores, "amax", include_self=False)
        weight = torch.exp(x - peak[self.index][:, None])
        return weight / self.gather(self.total(weight))


@dataclass
class EdgeBatch:
    """Several crystals laid end to end; line edges only where they were asked for."""

    numbers: Tensor  # (N,) int64, atomic numbers
    lengths: Tensor  # (E,) Å
    source: Rows  # edges -> atoms
    receiver: Rows
    atom_crystal: Rows  # atoms -> crystals
    edge_crystal: Rows  # edges -> crystals
    cosines: Tensor | None = None  # (T,)
    line_source: Rows | None = None  # line edges -> edges
    line_receiver: Rows | None = None


def collate(graphs: list[EdgeGraph], dtype: torch.dtype = torch.float32, line: bool = False) -> EdgeBatch:
    """One batch; lengths and cosines are computed in float64 and rounded once to `dtype`."""
    atoms, edges = [len(g.numbers) for g in graphs], [len(g.source) for g in graphs]

    def joined(parts: list[np.ndarray], sizes: list[int]) -> np.ndarray:
        return np.concatenate([part + start for part, start in zip(parts, np.cumsum([0] + sizes))])

    def rounded(parts: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts)).to(dtype)

    crystals = np.arange(len(graphs))
    batch = EdgeBatch(
        numbers=torch.from_numpy(np.concatenate([g.numbers for g in graphs])),
        lengths=rounded([g.lengths for g in graphs]),
        source=Rows(joined([g.source for g in graphs], atoms), sum(atoms), ascending=False),
        receiver=Rows(joined([g.receiver for g in graphs], atoms), sum(atoms), ascending=True),
        atom_crystal=Rows(np.repeat(crystals, atoms), len(graphs), ascending=True),
        edge_crystal=Rows(np.repeat(crystals, edges), len(graphs), ascending=True),
    )
    if line:
        lines = [g.line for g in graphs]
        batch.cosines = rounded([x.cosines for x in lines])
        batch.line_source = Rows(joined([x.source for x in lines], edges), sum(edges), ascending=False)
        batch.line_receiver = Rows(joined([x.receiver for x in lines], edges), sum(edges), ascending=True)
    return batch
