"""ALIGNN in PyTorch, written for this repository from the published equations.

Tensor names and shapes follow the reference implementation, so state dicts are interchangeable.
Choudhary and DeCost, npj Comput. Mater. 7, 185 (2021). Shapes: B crystals, N atoms, E edges, T line edges, F hidden
features, K Gaussian centres.
"""
from __future__ import annotations

from typing import Any, Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from edge_graphs import EdgeBatch, EdgeGraph, Rows, collate
from graph import element_rows

LINKS: dict[str, Callable[[Tensor], Tensor]] = {"identity": lambda x: x, "log": torch.exp, "logit": torch.sigmoid}
Norm = Callable[[int], nn.Module]


class Gaussians(nn.Module):
    """exp(-gamma (v - centre)²) with gamma = 1 / spacing; upstream's choice, where CGCNN has 1 / spacing²."""

    def __init__(self, low: float, high: float, bins: int) -> None:
        super().__init__()
        self.register_buffer("centers", torch.linspace(low, high, bins))

    def forward(self, v: Tensor) -> Tensor:
        """v (E,) -> (E, K)"""
        gamma = (len(self.centers) - 1) / float(self.centers[-1] - self.centers[0])
        return torch.exp((v[:, None] - self.centers).square_().mul_(-gamma))


class Mlp(nn.Module):
    """Linear, norm, SiLU."""

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(inputs, outputs), norm(outputs), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class EdgeGatedConv(nn.Module):
    """
    m = src_gate(n_source) + dst_gate(n_receiver) + edge_gate(e)
    n <- n + SiLU(norm(src_update(n) + sum of sigmoid(m) dst_update(n_source) / (sum of sigmoid(m) + 1e-6)))
    e <- e + SiLU(norm(m))
    Sums run over the edges into an atom. `src_update` acts on the atom itself and `dst_update` on its neighbours.
    """

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        self.src_gate = nn.Linear(width, width)
        self.dst_gate = nn.Linear(width, width)
        self.edge_gate = nn.Linear(width, width)
        self.bn_edges = norm(width)
        self.src_update = nn.Linear(width, width)
        self.dst_update = nn.Linear(width, width)
        self.bn_nodes = norm(width)

    def forward(self, n: Tensor, e: Tensor, source: Rows, receiver: Rows, needs_edges: bool) -> tuple[Tensor, Tensor]:
        """n (N, F), e (E, F) -> the same shapes; e is returned as it came where nobody reads it afterwards."""
        m = self.edge_gate(e).add_(source.gather(self.src_gate(n))).add_(receiver.gather(self.dst_gate(n)))
        gate = torch.sigmoid(m)
        h = receiver.total(gate * source.gather(self.dst_update(n))) / (receiver.total(gate) + 1e-6)
        updated = n + silu(self.bn_nodes(self.src_update(n) + h))
        return updated, e + silu(self.bn_edges(m)) if needs_edges else e


class AlignnLayer(nn.Module):
    """A convolution on the crystal graph, then one on its line graph, where the edges are the nodes."""

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        self.node_update = EdgeGatedConv(width, norm)
        self.edge_update = EdgeGatedConv(width, norm)

    def forward(self, x: Tensor, y: Tensor, z: Tensor, batch: EdgeBatch,
                needs_lines: bool) -> tuple[Tensor, Tensor, Tensor]:
        """x (N, F), y (E, F), z (T, F) -> the same shapes."""
        x, m = self.node_update(x, y, batch.source, batch.receiver, True)
        y, z = self.edge_update(m, z, batch.line_source, batch.line_receiver, needs_lines)
        return x, y, z


class Alignn(nn.Module):
    """
    One number per crystal, or (B, output_features) where there are several; log-probabilities for a classifier.

    `config` is the `model` part of upstream's config.json. `norm` is BatchNorm in `alignn` and LayerNorm in
    `alignn_atomwise`, whose graph output this is too. Not written here: extra features, and the classifier, cutoff
    function and penalty of `alignn_atomwise`.
    """

    def __init__(self, config: dict[str, Any], norm: Norm = nn.BatchNorm1d) -> None:
        super().__init__()
        width, middle = config["hidden_features"], config["embedding_features"]
        self.atom_embedding = Mlp(config["atom_input_features"], width, norm)
        self.edge_embedding = nn.Sequential(
            Gaussians(0, 8, config["edge_input_features"]),
            Mlp(config["edge_input_features"], middle, norm),
            Mlp(middle, width, norm),
        )
        self.angle_embedding = nn.Sequential(
            Gaussians(-1, 1, config["triplet_input_features"]),
            Mlp(config["triplet_input_features"], middle, norm),
            Mlp(middle, width, norm),
        )
        self.alignn_layers = nn.ModuleList(AlignnLayer(width, norm) for _ in range(config["alignn_layers"]))
        self.gcn_layers = nn.ModuleList(EdgeGatedConv(width, norm) for _ in range(config["gcn_layers"]))
        self.fc = nn.Linear(width, config["output_features"])
        self.link = LINKS[config.get("link", "identity")]
        self.is_classifier = config.get("classification", False)
        rows = torch.from_numpy(element_rows()) if config["atom_input_features"] > 1 else torch.arange(1, 101)[:, None]
        self.register_buffer("atom_features", rows.float(), persistent=False)  # (100, 92), or atomic numbers (100, 1)

    def forward(self, batch: EdgeBatch) -> Tensor:
        """(B,) or (B, outputs). What the last layers would make of edges and line edges is not computed."""
        x = self.atom_embedding(self.atom_features[batch.numbers - 1])
        y = self.edge_embedding(batch.lengths)
        z = self.angle_embedding(batch.cosines) if len(self.alignn_layers) else None
        for left, layer in zip(reversed(range(len(self.alignn_layers))), self.alignn_layers):
            x, y, z = layer(x, y, z, batch, left > 0)
        for left, conv in zip(reversed(range(len(self.gcn_layers))), self.gcn_layers):
            x, y = conv(x, y, batch.source, batch.receiver, left > 0)
        out = self.link(self.fc(batch.atom_crystal.mean(x)))
        return torch.log_softmax(out, dim=1) if self.is_classifier else out.squeeze(1)


def config_from_state(state: dict[str, Tensor]) -> dict[str, Any]:
    """What of the `model` part of upstream's config.json can be read from the tensors."""
    def count(prefix: str) -> int:
        return len({key.split(".")[1] for key in state if key.startswith(prefix + ".")})

    width, inputs = state["atom_embedding.layer.0.weight"].shape
    return {
        "name": "alignn",
        "alignn_layers": count("alignn_layers"),
        "gcn_layers": count("gcn_layers"),
        "atom_input_features": inputs,
        "edge_input_features": len(state["edge_embedding.0.centers"]),
        "triplet_input_features": len(state["angle_embedding.0.centers"]),
        "embedding_features": state["edge_embedding.1.layer.0.weight"].shape[0],
        "hidden_features": width,
        "output_features": state["fc.weight"].shape[0],
    }


def model_from_state(state: dict[str, Tensor], config: dict[str, Any] | None = None) -> Alignn:
    """
    A float32 model in evaluation mode; every width is read from the tensors' shapes, and names must match. `link` and
    `classification` are not in the tensors, and so taken from `config`, the `model` part of upstream's config.json.
    """
    is_batch_norm = "atom_embedding.layer.1.running_mean" in state
    model = Alignn({**(config or {}), **config_from_state(state)}, nn.BatchNorm1d if is_batch_norm else nn.LayerNorm)
    model.fc.bias = nn.Parameter(torch.zeros_like(state["fc.bias"]))  # with a log link upstream makes it 0-dimensional
    model.load_state_dict(state, strict=True)
    return model.eval()


@torch.no_grad()
def predict(model: Alignn, graphs: list[EdgeGraph]) -> Tensor:
    """(B,) or (B, outputs), as trained, one crystal per batch, in the model's own precision."""
    return torch.cat([model(collate([g], model.fc.weight.dtype, line=True)) for g in graphs])
