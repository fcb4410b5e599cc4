"""A checkpoint's network as an ONNX file, for ONNX Runtime in the bench: the same weights, the same tensors as PyTorch gets.

    export_onnx.py CHECKPOINT FILE.onnx

The networks are examples/train's own modules. Only their many-to-one maps are replaced, since the embedding_bag that makes
those fast in PyTorch becomes a loop in ONNX: here a sum is ScatterND with reduction "add", which in ONNX Runtime is many times
as fast as ScatterElements. All sizes are dynamic. Written with PyTorch's TorchScript exporter, which needs no onnx package.
"""
import sys
import warnings

import torch
from torch import Tensor, nn
from torch.onnx import symbolic_helper

from networks import load_network

OPSET = 16  # the first whose ScatterND adds


def index_put(g, target: torch.Value, indices: torch.Value, values: torch.Value, accumulate: torch.Value) -> torch.Value:
    """Rows added into a table. PyTorch's own symbolic for this opset loses all but one of the rows that go to one place."""
    index = g.op("Unsqueeze", symbolic_helper._unpack_list(indices)[0], g.op("Constant", value_t=torch.tensor([1])))
    return g.op("ScatterND", target, index, values, reduction_s="add")


class Rows:
    """edge_graphs.Rows in operations that ONNX has."""

    def __init__(self, index: Tensor, count: Tensor) -> None:
        self.index, self.count = index, count

    def gather(self, x: Tensor) -> Tensor:
        return x.index_select(0, self.index)

    def total(self, x: Tensor) -> Tensor:
        return x.new_zeros(self.count, x.shape[1]).index_put((self.index,), x, accumulate=True)

    def mean(self, x: Tensor) -> Tensor:
        sizes = self.total(torch.ones_like(x[:, :1]))
        return self.total(x) / sizes.clamp(min=1)

    def softmax(self, x: Tensor) -> Tensor:
        # ONNX takes maxima per row from opset 18 on, later than this exporter; one over all rows serves as well.
        weight = torch.exp(x - x.max())
        return weight / self.gather(self.total(weight))


class Cgcnn(nn.Module):
    inputs = {"atoms": "N", "edges": "N", "nbr_idx": "N", "crystal": "N", "counts": "B"}

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, atoms: Tensor, edges: Tensor, nbr_idx: Tensor, crystal: Tensor, counts: Tensor) -> Tensor:
        net = self.network
        v = net.embedding(atoms)
        for conv in net.convs:
            v = conv(v, edges, nbr_idx)
        total = Rows(crystal, counts.shape[0]).total(v)
        h = nn.functional.softplus(net.conv_to_fc(nn.functional.softplus(total / counts[:, None])))
        for fc in getattr(net, "fcs", []):
            h = nn.functional.softplus(fc(h))
        return net.fc_out(h).squeeze(1)

    def example(self) -> tuple:
        neighbours, gaussians = 12, self.network.convs[0].fc_full.in_features - 2 * self.network.embedding.out_features
        return (torch.rand(5, 92), torch.rand(5, neighbours, gaussians), torch.randint(5, (5, neighbours)),
                torch.tensor([0, 0, 1, 1, 1]), torch.tensor([2.0, 3.0]))


class OfEdges(nn.Module):
    """ALIGNN and MEGNet. `counts` (B,) says nothing but how many crystals there are."""

    inputs = {"numbers": "N", "lengths": "E", "source": "E", "receiver": "E", "atom_crystal": "N", "edge_crystal": "E", "counts": "B"}
    line_inputs = {"cosines": "T", "line_source": "T", "line_receiver": "T"}

    def __init__(self, network: nn.Module, line: bool) -> None:
        super().__init__()
        self.network = network
        if line:
            self.inputs = {**self.inputs, **self.line_inputs}
            del self.inputs["edge_crystal"]  # ALIGNN reads its atoms alone

    def forward(self, *tensors: Tensor) -> Tensor:
        from edge_graphs import EdgeBatch

        named = dict(zip(self.inputs, tensors))
        atoms, edges, crystals = (named[name].shape[0] for name in ("numbers", "lengths", "counts"))
        batch = EdgeBatch(
            numbers=named["numbers"],
            lengths=named["lengths"],
            source=Rows(named["source"], atoms),
            receiver=Rows(named["receiver"], atoms),
            atom_crystal=Rows(named["atom_crystal"], crystals),
            edge_crystal=Rows(named["edge_crystal"], crystals) if "edge_crystal" in named else None,
        )
        if "cosines" in named:
            batch.cosines = named["cosines"]
            batch.line_source, batch.line_receiver = Rows(named["line_source"], edges), Rows(named["line_receiver"], edges)
        return self.network(batch)

    def example(self) -> tuple:
        values = {
            "numbers": torch.tensor([8, 12, 8, 12, 8]),
            "lengths": torch.linspace(1.5, 3.5, 7),
            "source": torch.tensor([1, 0, 3, 4, 2, 4, 3]),
            "receiver": torch.tensor([0, 1, 2, 2, 3, 3, 4]),
            "atom_crystal": torch.tensor([0, 0, 1, 1, 1]),
            "edge_crystal": torch.tensor([0, 0, 1, 1, 1, 1, 1]),
            "counts": torch.tensor([2.0, 3.0]),
            "cosines": torch.linspace(-1, 1, 4),
            "line_source": torch.tensor([1, 0, 4, 3]),
            "line_receiver": torch.tensor([0, 1, 2, 4]),
        }
        return tuple(values[name] for name in self.inputs)


def main(checkpoint: str, target: str) -> None:
    architecture, _, network = load_network(checkpoint)
    module = Cgcnn(network) if architecture.name == "cgcnn" else OfEdges(network, architecture.name == "alignn")
    names = list(module.inputs)
    torch.onnx.register_custom_op_symbolic("aten::index_put", index_put, OPSET)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), module.example(), target, opset_version=OPSET, input_names=names, output_names=["output"],
            dynamic_axes={**{name: {0: axis} for name, axis in module.inputs.items()}, "output": {0: "B"}},
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
