"""CGCNN in PyTorch, written for this repository from the published equations.

Tensor names and shapes follow the reference implementation, so checkpoints are interchangeable.
Xie and Grossman, Phys. Rev. Lett. 120, 145301 (2018). Shapes: B crystals, N atoms in the batch, M neighbours,
F atom features, K edge features, H hidden width.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from graph import Graph, GraphSettings, gaussian_features


@dataclass
class Batch:
    """Several crystals laid end to end."""

    atoms: Tensor  # (N, 92)
    edges: Tensor  # (N, M, K)
    nbr_idx: Tensor  # (N, M) int64, rows of `atoms`
    crystal: Tensor  # (N,) int64, 0..B-1
    counts: Tensor  # (B,) atoms per crystal


def collate(graphs: list[Graph], rows: Tensor, settings: GraphSettings, dtype: torch.dtype = torch.float32) -> Batch:
    """Features are computed in float64 and rounded once to `dtype`. rows: (100, 92), one per element."""
    counts = [len(g.numbers) for g in graphs]
    starts = np.cumsum([0] + counts[:-1])
    numbers = torch.from_numpy(np.concatenate([g.numbers for g in graphs]))
    dist = np.concatenate([g.nbr_dist for g in graphs])
    return Batch(
        atoms=rows.to(dtype)[numbers - 1],
        edges=torch.from_numpy(gaussian_features(dist, settings)).to(dtype),
        nbr_idx=torch.from_numpy(np.concatenate([g.nbr_idx + s for g, s in zip(graphs, starts)])),
        crystal=torch.repeat_interleave(torch.arange(len(graphs)), torch.tensor(counts)),
        counts=torch.tensor(counts, dtype=dtype),
    )


class Conv(nn.Module):
    """v_i <- softplus(v_i + BN2(sum over neighbours j of sigmoid(f_ij) softplus(c_ij)))."""

    def __init__(self, atom_fea_len: int, nbr_fea_len: int) -> None:
        super().__init__()
        self.fc_full = nn.Linear(2 * atom_fea_len + nbr_fea_len, 2 * atom_fea_len)
        self.bn1 = nn.BatchNorm1d(2 * atom_fea_len)
        self.bn2 = nn.BatchNorm1d(atom_fea_len)

    def forward(self, v: Tensor, edges: Tensor, nbr_idx: Tensor) -> Tensor:
        """v (N, F), edges (N, M, K), nbr_idx (N, M) -> (N, F)."""
        n, m = nbr_idx.shape
        pair = torch.cat([v[:, None, :].expand(-1, m, -1), v[nbr_idx], edges], dim=2)  # (N, M, 2F + K)
        z = self.bn1(self.fc_full(pair).reshape(n * m, -1)).reshape(n, m, -1)  # (N, M, 2F): filter, then core
        gate, core = z.chunk(2, dim=2)
        return softplus(v + self.bn2((torch.sigmoid(gate) * softplus(core)).sum(dim=1)))


class CrystalGraphConvNet(nn.Module):
    """Regression head: one number per crystal, in units of the normaliser."""

    def __init__(self, nbr_fea_len: int, atom_fea_len: int, n_conv: int, h_fea_len: int, n_h: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(92, atom_fea_len)
        self.convs = nn.ModuleList(Conv(atom_fea_len, nbr_fea_len) for _ in range(n_conv))
        self.conv_to_fc = nn.Linear(atom_fea_len, h_fea_len)
        if n_h > 1:
            self.fcs = nn.ModuleList(nn.Linear(h_fea_len, h_fea_len) for _ in range(n_h - 1))
        self.fc_out = nn.Linear(h_fea_len, 1)

    def forward(self, batch: Batch) -> Tensor:
        """(B,)"""
        v = self.embedding(batch.atoms)
        for conv in self.convs:
            v = conv(v, batch.edges, batch.nbr_idx)
        total = torch.zeros(len(batch.counts), v.shape[1], dtype=v.dtype).index_add(0, batch.crystal, v)
        h = softplus(self.conv_to_fc(softplus(total / batch.counts[:, None])))
        for fc in getattr(self, "fcs", []):
            h = softplus(fc(h))
        return self.fc_out(h).squeeze(1)


def model_from_state(state: dict[str, Tensor]) -> CrystalGraphConvNet:
    """A float32 model in evaluation mode; every width is read from the tensors' shapes, and names must match."""
    fea = state["embedding.weight"].shape[0]
    model = CrystalGraphConvNet(
        nbr_fea_len=state["convs.0.fc_full.weight"].shape[1] - 2 * fea,
        atom_fea_len=fea,
        n_conv=sum(key.endswith("fc_full.weight") for key in state),
        h_fea_len=state["conv_to_fc.weight"].shape[0],
        n_h=1 + sum(key.startswith("fcs.") and key.endswith("weight") for key in state),
    )
    model.load_state_dict(state, strict=True)
    return model.eval()


@torch.no_grad()
def predict(model: CrystalGraphConvNet, graphs: list[Graph], settings: GraphSettings, rows: Tensor) -> Tensor:
    """(B,) normalised outputs, one crystal per batch, in the model's own precision."""
    dtype = model.fc_out.weight.dtype
    return torch.cat([model(collate([g], rows, settings, dtype)) for g in graphs])
