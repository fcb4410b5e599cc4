"""The graphs of all three networks in Python, step by step (see worker.py), on one thread.

CGCNN's neighbours as upstream's CIFData has them, ALIGNN's edges by jarvis' loops, MEGNet's as matgl makes them; no
features, and nothing of DGL, which is not installed: both in Python's favour.
"""
import warnings
from functools import lru_cache

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402

import networks  # noqa: E402,F401  (makes examples/train importable)
from pymatgen.core import Element, Lattice, Structure  # noqa: E402
from pymatgen.optimization.neighbors import find_points_in_spheres  # noqa: E402

from graph import build_graph  # noqa: E402
from upstream_graphs import jarvis_graph  # noqa: E402

SUPPLIED = {}  # id -> Structure that the bench generated and sent
ELEMENTS = tuple(str(Element.from_Z(z)) for z in range(1, 119))


@lru_cache(None)
def kept_structure(name):
    return SUPPLIED[name] if name in SUPPLIED else Structure.from_file(name)


def sphere_search(structure, cutoff, tolerance=1e-8):
    """pymatgen's compiled search with what matgl does around it: (source, receiver, images, lattice, positions)."""
    lattice = np.ascontiguousarray(np.array(structure.lattice.matrix), dtype=float)
    coords = np.array(structure.cart_coords)
    src, dst, images, distance = find_points_in_spheres(
        coords, coords, r=cutoff, pbc=np.array([1, 1, 1], dtype=int), lattice=lattice, tol=tolerance
    )
    other = (src != dst) | (distance > tolerance)
    return src[other], dst[other], images[other], lattice, coords


def sphere_graph(structure, cutoff):
    """
    matgl's edges with lengths, up to DGL's graph: Structure2Graph.get_graph and compute_pair_vector_and_distance, after
    usage in materialsvirtuallab/matgl 0ab0d4d.
    """
    src, dst, images, lattice, coords = sphere_search(structure, cutoff)
    u, v = torch.tensor(src.astype(np.int32)), torch.tensor(dst.astype(np.int32))
    shift = torch.matmul(torch.tensor(images.astype(np.float32)), torch.tensor(lattice.astype(np.float32)))
    lattices = torch.tensor(np.repeat([lattice.astype(np.float32)], len(src), axis=0))
    types = torch.tensor(np.array([ELEMENTS.index(site.specie.symbol) for site in structure], dtype=np.int32))
    positions = torch.tensor(coords.astype(np.float32))
    vectors = positions[v.long()] + shift - positions[u.long()]
    return u, v, torch.norm(vectors, dim=1), lattices, types


# Steps: each tells the number of edges.


def step_nearest(request):
    structure = kept_structure(request["file"])
    return lambda: build_graph(structure), lambda graph: graph.nbr_idx.size


def step_shell(request):
    structure = kept_structure(request["file"])
    return lambda: jarvis_graph(structure), lambda graph: len(graph.source)


def step_sphere(request):
    structure = kept_structure(request["file"])
    return lambda: sphere_graph(structure, request["cutoff"]), lambda graph: len(graph[0])


def step_sphere_search(request):
    structure = kept_structure(request["file"])
    return lambda: sphere_search(structure, request["cutoff"]), lambda found: len(found[0])


def step_supply(request):
    """Keep a generated structure under a name."""
    lattice = Lattice([request["lattice"][i : i + 3] for i in (0, 3, 6)])
    SUPPLIED[request["file"]] = Structure(lattice, request["numbers"], np.array(request["frac"]).reshape(-1, 3))
    return lambda: None, lambda _: None


if __name__ == "__main__":
    from importlib.metadata import version

    from worker import work

    torch.set_num_threads(1)
    # What numpy and its OpenBLAS fuse depends on it, and so where ALIGNN's shells are cut.
    fused = np.core._multiarray_umath.__cpu_features__["AVX512_SKX"]
    work(
        globals(),
        {
            "torch": torch.__version__,
            "pymatgen": version("pymatgen"),
            "numpy": np.__version__,
            "arithmetic": "AVX-512" if fused else "no AVX-512",
        },
    )
