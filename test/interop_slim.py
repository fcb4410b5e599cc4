"""What torch makes of slim files: functions for interop.py's `check`, which gives them a loaded file."""

import torch
from torch.nn.utils import prune


def pruned_alike(d):
    """d: before and after (state dicts), names of the weights, amount and scope. Zeros are torch's, ties apart."""
    layers = {}
    for name in d["names"]:
        layers[name] = torch.nn.Module()
        layers[name].weight = torch.nn.Parameter(d["before"][name].clone())
    if d["scope"] == "global":
        weights = [(layer, "weight") for layer in layers.values()]
        prune.global_unstructured(weights, pruning_method=prune.L1Unstructured, amount=d["amount"])
    else:
        for layer in layers.values():
            prune.l1_unstructured(layer, "weight", amount=d["amount"])
    masks = {name: layer.weight_mask == 0 for name, layer in layers.items()}
    ours = {name: d["after"][name] == 0 for name in masks}
    groups = [list(masks)] if d["scope"] == "global" else [[name] for name in masks]
    for group in groups:
        if sum(int(ours[name].sum()) for name in group) != sum(int(masks[name].sum()) for name in group):
            return False
        pruned = [d["before"][name].abs()[ours[name]] for name in group]
        threshold = torch.cat(pruned).max() if any(p.numel() for p in pruned) else -1
        for name in group:
            before, after = d["before"][name], d["after"][name]
            decided = before.abs() != threshold
            if not torch.equal(ours[name][decided], masks[name][decided]):
                return False
            if not torch.equal(after[~ours[name]], before[~ours[name]]):
                return False
    return True


def slimmed(path, dtype, original):
    """A slim file has the original's weights in dtype (matrices) or as they were. Read with weights_only from torch 2
    on: that of 1.13 knows no floats."""
    slim = torch.load(path, weights_only=torch.__version__[0] != "1")
    weights, state = original["state_dict"], slim["state_dict"]
    if list(weights) != list(state) or "optimizer" in slim:
        return False
    for name, tensor in weights.items():
        cast = dtype is not None and tensor.is_floating_point() and tensor.dim() >= 2
        expected = tensor.to(getattr(torch, dtype)) if cast else tensor
        if state[name].dtype != expected.dtype or not torch.equal(state[name], expected):
            return False
    for key in ("mean", "std"):
        if type(slim["normalizer"][key]) is not float or slim["normalizer"][key] != float(original["normalizer"][key]):
            return False
    same = [slim[key] == original[key] for key in ("epoch", "args")]
    return all(same) and slim["best_mae_error"] == float(original["best_mae_error"])


def without_floats(path):
    """A slim file of integers and texts, with weights_only in any version."""
    slim = torch.load(path, weights_only=True)
    return slim["epoch"] == 3 and slim["args"] == {"n": 2} and slim["state_dict"]["w"].dtype == torch.bfloat16
