"""MEGNet in PyTorch, written for this repository from the published equations.

Tensor names and shapes follow matgl's implementation, whose files put "model." before every name.
Chen et al., Chem. Mater. 31, 3564 (2019). Shapes: B crystals, N atoms, E edges, F features, K Gaussian centres.
"""
from __future__ import annotations

import math
from typing import Any

import torch
from pymatgen.core import Element
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from edge_graphs import EdgeBatch, EdgeGraph, Rows, collate

PREFIX = "model."
# matgl's order where the file names no elements: all below Am by Z, without these five.
DEFAULT_ELEMENTS = [e.symbol for z in range(1, 95) if (e := Element.from_Z(z)).symbol not in "Po At Rn Fr Ra".split()]
DEFAULTS = {"niters_set2set": 2, "nlayers_set2set": 1, "cutoff": 4.0, "gauss_width": 0.5, "include_state": True}


class Softplus2(nn.Module):
    """log((1 + exp(x)) / 2)"""

    def forward(self, x: Tensor) -> Tensor:
        return softplus(x) - math.log(2)


class Gaussians(nn.Module):
    """exp(-width (d - centre)²); the width multiplies the square, it is no standard deviation."""

    def __init__(self, initial: float, final: float, centers: int, width: float) -> None:
        super().__init__()
        self.register_buffer("centers", torch.linspace(initial, final, centers))
        self.width = width

    def forward(self, d: Tensor) -> Tensor:
        """d (E,) Å -> (E, K)"""
        return torch.exp((d[:, None] - self.centers).square_().mul_(-self.width))


class BondExpansion(nn.Module):
    """Only holds the Gaussians under upstream's name."""

    def __init__(self, rbf: Gaussians) -> None:
        super().__init__()
        self.rbf = rbf


class Embedding(nn.Module):
    """Only holds the tables of elements and, where there are several states, of these under upstream's names."""

    def __init__(self, elements: int, width: int, states: int | None, state_width: int) -> None:
        super().__init__()
        self.layer_node_embedding = nn.Embedding(elements, width)
        if states:
            self.layer_state_embedding = nn.Embedding(states, state_width)


class Mlp(nn.Module):
    """Linear, activation, Linear, activation and so on, under upstream's `layers.N`."""

    def __init__(self, widths: list[int], activate_last: bool = True) -> None:
        super().__init__()
        parts = [part for pair in zip(widths, widths[1:]) for part in (nn.Linear(*pair), Softplus2())]
        self.layers = nn.ModuleList(parts if activate_last else parts[:-1])

    def forward(self, x: Tensor) -> Tensor:
        for part in self.layers:
            x = part(x)
        return x

    def of_parts(self, *parts: tuple[Tensor, Rows | None]) -> Tensor:
        """
        The same as for the parts, gathered by their rows, side by side. The first Linear is applied to each part
        before it is gathered, since there are far fewer atoms and crystals than edges.
        """
        first = self.layers[0]
        weights = first.weight.split([part.shape[1] for part, _ in parts], dim=1)
        x, bias = None, first.bias
        for (part, rows), weight in zip(parts, weights):
            y = linear(part, weight, bias)
            y = y if rows is None else rows.gather(y)
            x, bias = y if x is None else x.add_(y), None
        for part in self.layers[1:]:
            x = part(x)
        return x


class Conv(nn.Module):
    """Update edges from both ends and the state, atoms from their edges' mean, the state from both means."""

    def __init__(self, width: int, hidden: list[int]) -> None:
        super().__init__()
        self.edge_func = Mlp([4 * width, *hidden])
        self.node_func = Mlp([3 * width, *hidden])
        self.state_func = Mlp([3 * width, *hidden])

    def forward(self, e: Tensor, v: Tensor, u: Tensor, batch: EdgeBatch) -> tuple[Tensor, Tensor, Tensor]:
        """e (E, F), v (N, F), u (B, F) -> the same shapes."""
        e = self.edge_func.of_parts((v, batch.source), (v, batch.receiver), (e, None), (u, batch.edge_crystal))
        v = self.node_func.of_parts((v, None), (batch.receiver.mean(e), None), (u, batch.atom_crystal))
        u = self.state_func.of_parts((u, None), (batch.edge_crystal.mean(e), None), (batch.atom_crystal.mean(v), None))
        return e, v, u


class Block(nn.Module):
    """Dense layers (not in the first block), a convolution, and the block's inputs added to its outputs."""

    def __init__(self, width: int, dense: list[int], hidden: list[int]) -> None:
        super().__init__()
        self.has_dense = bool(dense)
        if dense:
            self.edge_func, self.node_func, self.state_func = (Mlp([width, *dense]) for _ in range(3))
        self.conv = Conv(width, hidden)

    def forward(self, e: Tensor, v: Tensor, u: Tensor, batch: EdgeBatch) -> tuple[Tensor, Tensor, Tensor]:
        """e (E, F), v (N, F), u (B, F) -> the same shapes."""
        inputs = (e, v, u)
        if self.has_dense:
            e, v, u = self.edge_func(e), self.node_func(v), self.state_func(u)
        return tuple(new + old for new, old in zip(self.conv(e, v, u, batch), inputs))


class Set2Set(nn.Module):
    """Attention over a crystal's rows, steered by an LSTM that reads its own last answer."""

    def __init__(self, width: int, iterations: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2 * width, width, layers)
        self.width, self.iterations = width, iterations

    def forward(self, x: Tensor, crystal: Rows) -> Tensor:
        """x (E, F) and the crystal of each row -> (B, 2F)"""
        shape = (self.lstm.num_layers, crystal.count, self.width)
        hidden = (x.new_zeros(shape), x.new_zeros(shape))
        answer = x.new_zeros(crystal.count, 2 * self.width)
        for _ in range(self.iterations):
            query, hidden = self.lstm(answer[None], hidden)
            weight = crystal.softmax((x * crystal.gather(query[0])).sum(dim=1, keepdim=True))
            answer = torch.cat([query[0], crystal.total(weight * x)], dim=1)
        return answer


class Megnet(nn.Module):
    """
    One number per crystal, in units of the normaliser. `args` are matgl's init arguments; the state is a row of its
    table (ntypes_state rows), else a vector of zeros, as matgl gives where nothing is said about it.
    """

    def __init__(self, args: dict[str, Any]) -> None:
        super().__init__()
        args = {**DEFAULTS, **args}
        dense, hidden = list(args["hidden_layer_sizes_input"]), list(args["hidden_layer_sizes_conv"])
        elements, width = args.get("element_types") or DEFAULT_ELEMENTS, dense[-1]
        self.args = args
        self.bond_expansion = BondExpansion(
            Gaussians(0.0, args["cutoff"] + 1.0, args["dim_edge_embedding"], args["gauss_width"]))
        self.embedding = Embedding(
            len(elements), args["dim_node_embedding"], args.get("ntypes_state"), args["dim_state_embedding"])
        self.edge_encoder = Mlp([args["dim_edge_embedding"], *dense])
        self.node_encoder = Mlp([args["dim_node_embedding"], *dense])
        self.state_encoder = Mlp([args["dim_state_embedding"], *dense])
        self.blocks = nn.ModuleList(Block(width, dense if i else [], hidden) for i in range(args["nblocks"]))
        self.edge_s2s, self.node_s2s = (
            Set2Set(width, args["niters_set2set"], args["nlayers_set2set"]) for _ in range(2))
        self.output_proj = Mlp([5 * width, *args["hidden_layer_sizes_output"], 1], activate_last=False)
        row_of = torch.full((120,), -1)  # atomic number -> row of the element table; -1 makes the look-up fail
        row_of[[Element(symbol).Z for symbol in elements]] = torch.arange(len(elements))
        self.register_buffer("row_of", row_of, persistent=False)

    def forward(self, batch: EdgeBatch, state: int | None = None) -> Tensor:
        """(B,); state: row of the table of states, the same for all crystals."""
        e = self.edge_encoder(self.bond_expansion.rbf(batch.lengths))
        v = self.node_encoder(self.embedding.layer_node_embedding(self.row_of[batch.numbers]))
        u = e.new_zeros(batch.atom_crystal.count, self.args["dim_state_embedding"])
        if self.args.get("ntypes_state"):
            u = u + self.embedding.layer_state_embedding.weight[state]
        u = self.state_encoder(u)
        for block in self.blocks:
            e, v, u = block(e, v, u, batch)
        pooled = [self.node_s2s(v, batch.atom_crystal), self.edge_s2s(e, batch.edge_crystal), u]
        return self.output_proj(torch.cat(pooled, dim=1)).squeeze(1)


def saved_state(model: Megnet) -> dict[str, Tensor]:
    """The state dict under matgl's names."""
    return {PREFIX + key: value for key, value in model.state_dict().items()}


def config_from_state(state: dict[str, Tensor]) -> dict[str, Any]:
    """What of matgl's init arguments can be read from tensors named without the prefix."""
    def widths(name: str) -> list[int]:
        """Outputs of the Linears of an Mlp, in order."""
        keys = [key for key in state if key.startswith(name + ".layers.") and key.endswith("bias")]
        return [len(state[key]) for key in sorted(keys, key=lambda key: int(key.split(".")[-2]))]

    return {
        "dim_node_embedding": state["embedding.layer_node_embedding.weight"].shape[1],
        "dim_edge_embedding": len(state["bond_expansion.rbf.centers"]),
        "dim_state_embedding": state["state_encoder.layers.0.weight"].shape[1],
        "ntypes_state": len(state.get("embedding.layer_state_embedding.weight", [])) or None,
        "nblocks": len({key.split(".")[1] for key in state if key.startswith("blocks.")}),
        "hidden_layer_sizes_input": widths("edge_encoder"),
        "hidden_layer_sizes_conv": widths("blocks.0.conv.edge_func"),
        "hidden_layer_sizes_output": widths("output_proj")[:-1],
        "nlayers_set2set": sum(key.startswith("node_s2s.lstm.weight_hh_l") for key in state),
    }


def model_from_state(state: dict[str, Tensor], args: dict[str, Any] | None = None) -> Megnet:
    """
    A float32 model in evaluation mode; widths are read from the tensors' shapes, and names must match, with the prefix
    or without. Not in the tensors, and so taken from `args` (matgl's defaults where absent): cutoff, gauss_width,
    niters_set2set, element_types.
    """
    state = {key.removeprefix(PREFIX): value for key, value in state.items()}
    model = Megnet({**(args or {}), **config_from_state(state)})
    model.load_state_dict(state, strict=True)
    return model.eval()


@torch.no_grad()
def predict(model: Megnet, graphs: list[EdgeGraph]) -> Tensor:
    """(B,) normalised outputs, one crystal per batch, in the model's own precision."""
    dtype = model.output_proj.layers[0].weight.dtype
    return torch.cat([model(collate([g], dtype)) for g in graphs])
