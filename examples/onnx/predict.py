"""Predict with a network that `unitcell convert` wrote as ONNX, on crystals that `unitcell graph --npz` wrote.

    python predict.py model.onnx inputs.npz

Needs numpy and onnxruntime. Prints a line for each crystal, in the order they were given to `unitcell graph`. An .npz does
not say whose graphs it has: make it with the same --model and options as the network.
"""

import json
import sys

import numpy as np
import onnxruntime as ort

NUMPY_TYPES = {"tensor(float)": np.float32, "tensor(int32)": np.int32}


def read_inputs(session, path):
    """The arrays of an .npz, checked against what the network declares."""
    arrays = dict(np.load(path))
    expected = {i.name: i for i in session.get_inputs()}
    if arrays.keys() != expected.keys():
        missing = sorted(expected.keys() - arrays.keys())
        unknown = sorted(arrays.keys() - expected.keys())
        sys.exit(f"{path} is not for this network: missing {missing}, unknown {unknown}")
    for name, array in arrays.items():
        declared = expected[name]
        if array.dtype != NUMPY_TYPES[declared.type] or array.ndim != len(declared.shape):
            sys.exit(
                f"{path}: {name} is {array.dtype} {list(array.shape)}, expected {declared.type} {declared.shape}"
            )
    return arrays


def read_output(output, metadata):
    """Values or probabilities, (crystals, outputs), in float64, from the network's own float32 output."""
    output = output.astype(np.float64)
    if metadata["unitcell.task"] == "classification":
        # One output is the probability of class 1, several are logarithms of the probabilities of each class.
        return output if output.shape[1] == 1 else np.exp(output)
    normalizer = json.loads(metadata.get("unitcell.normalizer", '{"mean": 0, "std": 1}'))
    return output * normalizer["std"] + normalizer["mean"]


def main(model, inputs):
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    (output,) = session.run(["output"], read_inputs(session, inputs))
    values = read_output(output, metadata)
    for warning in json.loads(metadata.get("unitcell.warnings", "[]")):
        print(f"warning: {warning}", file=sys.stderr)
    if not np.isfinite(values).all():
        sys.exit("the network gives no numbers for these crystals")
    print(metadata.get("unitcell.property", "a property that the checkpoint does not name"))
    for i, row in enumerate(values):
        print(i, *(f"{value:.7g}" for value in row), metadata.get("unitcell.unit", ""))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
