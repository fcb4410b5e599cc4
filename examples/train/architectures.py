"""The three networks behind one interface, so that training, reference values and the bench are written once.

`args` is what a checkpoint keeps under that name: for CGCNN its command line, for ALIGNN the content of its config.json
as far as it decides a prediction, for MEGNet matgl's init arguments; each with the options of our training beside it.
"""
from __future__ import annotations

import argparse
from functools import lru_cache
from typing import Any

import torch
from pymatgen.core import Structure
from torch import Tensor, nn

import alignn
import cgcnn
import edge_graphs
import megnet
from edge_graphs import EdgeBatch, EdgeGraph, NearestSettings, nearest_graph, radius_graph
from graph import Graph, GraphSettings, build_graph, centres, element_rows

Args = dict[str, Any]


@lru_cache(None)
def kept_rows() -> Tensor:
    """(100, 92) float64, one row per element."""
    return torch.from_numpy(element_rows())


class Architecture:
    """What the scripts ask of a network."""

    name: str
    training: Args  # defaults of the training options that differ from train.py's
    hyperparameters: tuple[str, ...]  # keys of args that the metadata repeats
    packs_optimizer = True  # see train.packed

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """The network's own options."""
        raise NotImplementedError

    def complete(self, args: argparse.Namespace, elements: list[str]) -> None:
        """Turn parsed options into what a checkpoint keeps; elements: symbols of the data, by atomic number."""
        raise NotImplementedError

    def new_model(self, args: Args) -> nn.Module:
        raise NotImplementedError

    def model_from_state(self, state: dict[str, Tensor], args: Args) -> nn.Module:
        """A float32 model in evaluation mode."""
        raise NotImplementedError

    def state(self, model: nn.Module) -> dict[str, Tensor]:
        """The state dict under upstream's names."""
        return model.state_dict()

    def build(self, structure: Structure, args: Args) -> Any:
        """The graph of a structure."""
        raise NotImplementedError

    def collate(self, graphs: list[Any], args: Args, dtype: torch.dtype = torch.float32) -> Any:
        """One batch."""
        raise NotImplementedError

    def graph_settings(self, args: Args) -> Args:
        """What decides a graph, for the metadata. Lengths in Å."""
        raise NotImplementedError


class Cgcnn(Architecture):
    name = "cgcnn"
    training: Args = {}
    hyperparameters = ("atom_fea_len", "n_conv", "h_fea_len", "n_h")
    packs_optimizer = False  # its tensors are few enough

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--atom-fea-len", type=int, default=16)
        parser.add_argument("--n-conv", type=int, default=3)
        parser.add_argument("--h-fea-len", type=int, default=24)
        parser.add_argument("--n-h", type=int, default=1)

    def complete(self, args: argparse.Namespace, elements: list[str]) -> None:
        vars(args).update({"task": "regression", "cuda": False, "start_epoch": 0, **vars(GraphSettings())})

    def settings(self, args: Args) -> GraphSettings:
        """Keys absent from args (upstream's files have none of them) have upstream's defaults."""
        return GraphSettings(**{key: args[key] for key in vars(GraphSettings()) if key in args})

    def new_model(self, args: Args) -> nn.Module:
        gaussians = len(centres(self.settings(args)))
        return cgcnn.CrystalGraphConvNet(gaussians, *(args[key] for key in self.hyperparameters))

    def model_from_state(self, state: dict[str, Tensor], args: Args) -> nn.Module:
        return cgcnn.model_from_state(state)

    def build(self, structure: Structure, args: Args) -> Graph:
        return build_graph(structure, self.settings(args))

    def collate(self, graphs: list[Graph], args: Args, dtype: torch.dtype = torch.float32) -> cgcnn.Batch:
        return cgcnn.collate(graphs, kept_rows(), self.settings(args), dtype)

    def graph_settings(self, args: Args) -> Args:
        settings = self.settings(args)
        return {**vars(settings), "var": settings.step}


class Alignn(Architecture):
    name = "alignn"
    training = {"epochs": 300, "keep_epoch": 0, "lr_milestones": [200, 265]}
    hyperparameters = ("model",)
    GRAPH: Args = {"neighbor_strategy": "k-nearest", "cutoff": 8.0, "max_neighbors": 12, "use_canonize": True}

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--alignn-layers", type=int, default=1)
        parser.add_argument("--gcn-layers", type=int, default=1)
        parser.add_argument("--embedding-features", type=int, default=14)
        parser.add_argument("--hidden-features", type=int, default=16)

    def complete(self, args: argparse.Namespace, elements: list[str]) -> None:
        own = {key: vars(args).pop(key)
               for key in ("alignn_layers", "gcn_layers", "embedding_features", "hidden_features")}
        args.model = {
            "name": "alignn",
            **own,
            "atom_input_features": 92,
            "edge_input_features": 80,
            "triplet_input_features": 40,
            "output_features": 1,
            "link": "identity",
            "classification": False,
            "extra_features": 0,
        }
        vars(args).update({**self.GRAPH, "atom_features": "cgcnn"})

    def new_model(self, args: Args) -> nn.Module:
        return alignn.Alignn(args["model"])

    def model_from_state(self, state: dict[str, Tensor], args: Args) -> nn.Module:
        return alignn.model_from_state(state, args.get("model"))

    def build(self, structure: Structure, args: Args) -> EdgeGraph:
        """Keys absent from args have upstream's defaults; `shell_tolerance` is ours."""
        chosen = {**self.GRAPH, **args}
        if chosen["neighbor_strategy"] != "k-nearest":
            raise ValueError(f"neighbor_strategy {chosen['neighbor_strategy']}: only k-nearest is written here")
        return nearest_graph(structure, NearestSettings(
            chosen["cutoff"], chosen["max_neighbors"], chosen["use_canonize"], chosen.get("shell_tolerance", 0.0)))

    def collate(self, graphs: list[EdgeGraph], args: Args, dtype: torch.dtype = torch.float32) -> EdgeBatch:
        return edge_graphs.collate(graphs, dtype, line=True)

    def graph_settings(self, args: Args) -> Args:
        return {key: args[key] for key in (*self.GRAPH, "atom_features")}


class Megnet(Architecture):
    name = "megnet"
    training = {"epochs": 300, "keep_epoch": 0, "lr": 0.01, "lr_milestones": [200, 265]}
    hyperparameters = (
        "dim_node_embedding", "dim_edge_embedding", "dim_state_embedding", "nblocks", "hidden_layer_sizes_input",
        "hidden_layer_sizes_conv", "hidden_layer_sizes_output", "nlayers_set2set", "niters_set2set",
        "cutoff", "gauss_width")

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--dim-node-embedding", type=int, default=16)
        parser.add_argument("--dim-edge-embedding", type=int, default=40)
        parser.add_argument("--nblocks", type=int, default=2)
        parser.add_argument("--hidden-layer-sizes-input", type=int, nargs="+", default=[16, 8])
        parser.add_argument("--hidden-layer-sizes-conv", type=int, nargs="+", default=[16, 8])
        parser.add_argument("--hidden-layer-sizes-output", type=int, nargs="+", default=[16, 8])
        parser.add_argument("--niters-set2set", type=int, default=2)
        parser.add_argument("--cutoff", type=float, default=5.0)
        parser.add_argument("--gauss-width", type=float, default=0.5)

    def complete(self, args: argparse.Namespace, elements: list[str]) -> None:
        vars(args).update({
            "dim_state_embedding": 2,
            "ntypes_state": None,
            "nlayers_set2set": 1,
            "activation_type": "softplus2",
            "is_classification": False,
            "include_state": True,
            "dropout": None,
            "graph_transformations": None,
            "element_types": elements,
            "bond_expansion": None,
        })

    def new_model(self, args: Args) -> nn.Module:
        return megnet.Megnet(args)

    def model_from_state(self, state: dict[str, Tensor], args: Args) -> nn.Module:
        return megnet.model_from_state(state, args)

    def state(self, model: nn.Module) -> dict[str, Tensor]:
        return megnet.saved_state(model)

    def build(self, structure: Structure, args: Args) -> EdgeGraph:
        return radius_graph(structure, args.get("cutoff", megnet.DEFAULTS["cutoff"]))

    def collate(self, graphs: list[EdgeGraph], args: Args, dtype: torch.dtype = torch.float32) -> EdgeBatch:
        return edge_graphs.collate(graphs, dtype)

    def graph_settings(self, args: Args) -> Args:
        return {"cutoff": args["cutoff"], "initial": 0.0, "final": args["cutoff"] + 1.0,
                "num_centers": args["dim_edge_embedding"], "gauss_width": args["gauss_width"]}


ARCHITECTURES: dict[str, Architecture] = {one.name: one for one in (Cgcnn(), Alignn(), Megnet())}


def recognise(state: dict[str, Tensor]) -> Architecture:
    """The architecture whose names a state dict has."""
    marks = {"cgcnn": "conv_to_fc.weight", "alignn": "edge_embedding.0.centers", "megnet": "bond_expansion.rbf.centers"}
    names = {key.removeprefix(megnet.PREFIX) for key in state}
    for name, mark in marks.items():
        if mark in names:
            return ARCHITECTURES[name]
    raise ValueError("not the state dict of a CGCNN, an ALIGNN or a MEGNet")
