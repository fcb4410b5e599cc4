"""The PyTorch and pymatgen side of the bench: the same steps as unitcell's, on one thread.

    native.py                      worker (see worker.py)
    native.py predict MODEL FILE   the whole process: load, parse, build the graph, run, print (bench/cold.ts)
"""
import sys
import warnings
from functools import lru_cache

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402

from networks import load_network  # noqa: E402  (and makes examples/train importable)

try:
    from pymatgen.core import Lattice, Structure
except ImportError:
    import no_pymatgen

    no_pymatgen.install()
    from pymatgen.core import Lattice, Structure

from cgcnn import collate, model_from_state  # noqa: E402
from graph import Graph, GraphSettings, build_graph, element_rows, gaussian_features  # noqa: E402

SETTINGS = GraphSettings()
SUPPLIED = {}  # id -> Structure that the bench generated and sent
SUPPLIED_GRAPHS = {}  # id -> EdgeGraph that the bench built and sent, so that both sides run the same one


def load(path):
    """The network and its normaliser from a checkpoint file, ready to run."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=False)
    normalizer = checkpoint["normalizer"]
    return model_from_state(checkpoint["state_dict"]), float(normalizer["mean"]), float(normalizer["std"])


def features(graph, rows):
    """What upstream's CIFData keeps of a crystal besides the neighbours: element rows and Gaussians, as tensors."""
    return torch.from_numpy(rows[graph.numbers - 1]).float(), torch.from_numpy(gaussian_features(graph.nbr_dist, SETTINGS)).float()


def array_graph(structure):
    """The same graph from pymatgen's arrays instead of its neighbour objects: its fastest way, which upstream does not use."""
    centre, index, _, distance = structure.get_neighbor_list(SETTINGS.radius)
    order = np.lexsort((distance, centre))
    centre, index, distance = centre[order], index[order], distance[order]
    m, n = SETTINGS.max_num_nbr, len(structure)
    place = np.arange(len(centre)) - np.searchsorted(centre, np.arange(n))[centre]
    kept = place < m
    nbr_idx = np.zeros((n, m), dtype=np.int64)
    nbr_dist = np.full((n, m), SETTINGS.radius + 1.0)
    nbr_idx[centre[kept], place[kept]] = index[kept]
    nbr_dist[centre[kept], place[kept]] = distance[kept]
    return Graph(np.array(structure.atomic_numbers, dtype=np.int64), nbr_idx, nbr_dist)


@lru_cache(None)
def kept_rows():
    return element_rows()


@lru_cache(None)
def kept_model(path):
    return load(path)


@lru_cache(None)
def kept_structure(name):
    return SUPPLIED[name] if name in SUPPLIED else Structure.from_file(name)


@lru_cache(None)
def kept_network(path):
    """(architecture, args, model) of a checkpoint."""
    return load_network(path)


def padded(graph):
    """CGCNN's (N, M) arrays from edges sorted by receiver, where every atom has as many."""
    n = len(graph.numbers)
    m, rest = divmod(len(graph.source), n)
    if rest or np.any(graph.receiver != np.repeat(np.arange(n), m)):
        raise ValueError(f"CGCNN needs the same number of neighbours for each of {n} atoms, got {len(graph.source)} edges")
    return Graph(graph.numbers, graph.source.reshape(n, m), graph.lengths.reshape(n, m))


@lru_cache(None)
def kept_network_batch(path, names):
    network, args, _ = kept_network(path)

    def graph(name):
        return padded(SUPPLIED_GRAPHS[name]) if network.name == "cgcnn" else SUPPLIED_GRAPHS[name]

    return network.collate([graph(name) for name in names], args)


def run(model, batch):
    with torch.no_grad():
        return model(batch)


def file_to_value(model, path):
    net, mean, std = model
    graph = build_graph(Structure.from_file(path), SETTINGS)
    output = run(net, collate([graph], torch.from_numpy(kept_rows()), SETTINGS))
    return float(output[0]) * std + mean


# Steps.


def step_load_network(request):
    return lambda: load(request["model"]), lambda loaded: sum(p.numel() for p in loaded[0].parameters())


def step_parse(request):
    return lambda: Structure.from_file(request["file"]), len


def step_graph(request):
    """As upstream's CIFData: neighbour objects, nearest first, cut; element rows; Gaussians."""
    structure, rows = kept_structure(request["file"]), kept_rows()

    def once():
        graph = build_graph(structure, SETTINGS)
        features(graph, rows)
        return graph

    return once, lambda graph: graph.nbr_idx.size


def step_array_graph(request):
    structure, rows = kept_structure(request["file"]), kept_rows()

    def once():
        graph = array_graph(structure)
        features(graph, rows)
        return graph

    return once, lambda graph: graph.nbr_idx.size


def step_predict(request):
    model = kept_model(request["model"])
    return lambda: [file_to_value(model, path) for path in request["files"]], lambda values: values


def step_predict_structures(request):
    """From parsed structures to values, in one batch."""
    net, mean, std = kept_model(request["model"])
    structures = [kept_structure(path) for path in request["files"]]
    rows = torch.from_numpy(kept_rows())

    def once():
        return run(net, collate([build_graph(s, SETTINGS) for s in structures], rows, SETTINGS))

    return once, lambda out: (out.double() * std + mean).tolist()


def step_linear(request):
    layer = torch.nn.Linear(request["columns"], request["outputs"])
    x = torch.rand(request["rows"], request["columns"])
    return lambda: run(layer, x), lambda out: list(out.shape)


def step_elementwise(request):
    x = torch.rand(request["count"]) * 8 - 4
    out = torch.empty_like(x)
    half = x.reshape(-1, 128).chunk(2, dim=1)
    calls = {
        "exp": lambda: torch.exp(x, out=out),
        "sigmoid": lambda: torch.sigmoid(x, out=out),
        "silu": lambda: torch.nn.functional.silu(x),
        "tanh": lambda: torch.tanh(x, out=out),
        "softplus": lambda: torch.nn.functional.softplus(x),
        "gate": lambda: torch.sigmoid(half[0]) * torch.nn.functional.softplus(half[1]),
        "copy": lambda: out.copy_(x),
    }
    return calls[request["name"]], lambda out: out.numel()


def step_supply(request):
    """Keep a generated structure under a name for the graph steps."""
    lattice = Lattice([request["lattice"][i : i + 3] for i in (0, 3, 6)])
    frac = np.array(request["frac"]).reshape(-1, 3)
    SUPPLIED[request["file"]] = Structure(lattice, request["numbers"], frac)
    return lambda: None, lambda _: len(frac)


def straight_on(graph):
    """The line graph in which a bond of an atom to its own image follows itself, as unitcell's symmetric graphs have it."""
    from edge_graphs import LineGraph, line_graph

    line = line_graph(graph)
    own = np.flatnonzero(graph.source == graph.receiver)
    source, receiver = np.concatenate([line.source, own]), np.concatenate([line.receiver, own])
    order = np.argsort(receiver, kind="stable")
    return LineGraph(source[order], receiver[order], np.concatenate([line.cosines, np.full(len(own), -1.0)])[order])


def step_supply_graph(request):
    """Keep a graph under a name for network_forward; edges as unitcell has them, sorted by receiver."""
    from edge_graphs import EdgeGraph, edge_graph

    numbers, source, receiver = (np.array(request[key], dtype=np.int64) for key in ("numbers", "source", "receiver"))
    if np.any(np.diff(receiver) < 0):
        raise ValueError("edges must be sorted by receiver")
    if "vectors" in request:
        graph = edge_graph(numbers, source, receiver, np.array(request["vectors"], dtype=float).reshape(-1, 3))
        if request["follows_itself"]:
            graph.line = straight_on(graph)
    else:
        graph = EdgeGraph(numbers, source, receiver, np.array(request["lengths"], dtype=float))
    SUPPLIED_GRAPHS[request["file"]] = graph
    return lambda: None, lambda _: len(source)


def step_forget(request):
    """Let go of what was supplied and made of it."""

    def once():
        SUPPLIED_GRAPHS.clear()
        for kept in (kept_network, kept_network_batch):
            kept.cache_clear()

    return once, lambda _: None


def step_network_predict(request):
    """A file to the network's raw output as upstream's Python goes: pymatgen's reader, upstream's way to graphs, one crystal."""
    from upstream_graphs import upstream_graph

    network, args, model = kept_network(request["model"])

    def once():
        graph = upstream_graph(network, args, Structure.from_file(request["file"]))
        return run(model, network.collate([graph], args))

    return once, lambda out: out.tolist()


def step_network_forward(request):
    """The forward pass of any of the three networks on kept graphs, in one batch; the raw outputs."""
    model, batch = kept_network(request["model"])[2], kept_network_batch(request["model"], tuple(request["files"]))
    run(model, batch)  # a batch sorts its indices when they are first used, which belongs to building it
    return lambda: run(model, batch), lambda out: out.tolist()


# What cannot be asked of a Python without pymatgen.
OF_STRUCTURES = ("parse", "graph", "array_graph", "predict", "predict_structures", "supply", "network_predict")


def versions():
    from importlib.metadata import version

    return {"torch": torch.__version__, **({"pymatgen": version("pymatgen")} if Structure else {}), "numpy": np.__version__}


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["predict"]:
        print(file_to_value(load(sys.argv[2]), sys.argv[3]))
    else:
        from worker import work

        work(globals(), versions(), lacking=() if Structure else OF_STRUCTURES)
