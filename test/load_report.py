"""What torch's own load_state_dict says of state dicts, and the names its wrappers give; for load-torch.test.ts.

In:  {"sizes": {features, hidden, edges, convs, dense}, "cases": [{name: shape}, ...]} as JSON on stdin.
Out: {"names": {wrapper: [name, ...]}, "cases": [{missing, unexpected, wrong}, ...]} as JSON on stdout.
"""
import json
import re
import sys

import torch
from torch import nn


class Conv(nn.Module):
    def __init__(self, hidden, edges):
        super().__init__()
        self.fc_full = nn.Linear(2 * hidden + edges, 2 * hidden)
        self.bn1 = nn.BatchNorm1d(2 * hidden)
        self.bn2 = nn.BatchNorm1d(hidden)


class Net(nn.Module):
    """The modules of a CGCNN, by their names; it is never run."""

    def __init__(self, features, hidden, edges, convs, dense):
        super().__init__()
        self.embedding = nn.Linear(features, hidden)
        self.convs = nn.ModuleList([Conv(hidden, edges) for _ in range(convs)])
        self.conv_to_fc = nn.Linear(hidden, dense)
        self.fcs = nn.ModuleList([nn.Linear(dense, dense)])
        self.fc_out = nn.Linear(dense, 1)


class Holder(nn.Module):
    """As a Lightning module, or matgl's TransformedTargetModel, holds a model."""

    def __init__(self, model):
        super().__init__()
        self.model = model


def judge(sizes, case):
    tensors = {name: torch.zeros(shape) for name, shape in case.items()}
    try:
        Net(**sizes).load_state_dict(tensors)
        message = ""
    except RuntimeError as error:
        message = str(error)
    keys = lambda kind: re.findall(r'"([^"]*)"', "".join(re.findall(kind + r" key\(s\) in state_dict: (.*)", message)))
    return {
        "missing": sorted(keys("Missing")),
        "unexpected": sorted(keys("Unexpected")),
        "wrong": sorted(re.findall(r"size mismatch for (\S+): ", message)),
    }


def wrapped(sizes):
    net = lambda: Net(**sizes)
    names = {"bare": list(net().state_dict()), "DataParallel": list(nn.DataParallel(net()).state_dict())}
    names["Holder"] = list(Holder(net()).state_dict())
    names["DataParallel of Holder"] = list(nn.DataParallel(Holder(net())).state_dict())
    names["Holder of Holder of DataParallel"] = list(Holder(Holder(nn.DataParallel(net()))).state_dict())
    if hasattr(torch, "compile"):
        names["compile"] = list(torch.compile(net()).state_dict())
        names["DataParallel of compile"] = list(nn.DataParallel(torch.compile(net())).state_dict())
        names["compile of DataParallel"] = list(torch.compile(nn.DataParallel(net())).state_dict())
        inner = net()
        inner.convs[0] = torch.compile(inner.convs[0])
        inner.fc_out = torch.compile(inner.fc_out)
        names["compile of compiled parts"] = list(torch.compile(inner).state_dict())
    return names


asked = json.load(sys.stdin)
answer = {
    "version": torch.__version__,
    "names": wrapped(asked["sizes"]),
    "cases": [judge(asked["sizes"], case) for case in asked["cases"]],
}
print(json.dumps(answer))
