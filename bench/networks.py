"""The networks of examples/train from a checkpoint file, for native.py to run."""
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "train"))


def load_network(path):
    """(architecture, args, model) of a checkpoint, ours or upstream's, or of a bare state dict."""
    from architectures import recognise  # here, so that `native.py predict` does not pay for it

    # Files of the repository and of its fixtures; upstream's CGCNN saves its argparse.Namespace.
    saved = torch.load(path, map_location="cpu", weights_only=False)
    state = next((saved[key] for key in ("state_dict", "model") if key in saved), saved)
    config = Path(path).with_name("config.json")  # where upstream's ALIGNN keeps what its state dict does not say
    architecture = recognise(state)
    args = saved.get("args") or {}
    args = args if isinstance(args, dict) else vars(args)
    if not args and config.exists() and architecture.name == "alignn":
        args = json.loads(config.read_text())
    return architecture, args, architecture.model_from_state(state, args)
