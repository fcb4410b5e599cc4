"""What independent programs make of files of `unitcell convert` and `unitcell graph`; test/cli-onnx.test.ts asks.

    onnx_files.py check MODEL...           onnx's strict checker; inputs, metadata, opset
    onnx_files.py arrays NPZ JSON          numpy's reading of an .npz, compared with the JSON of the same batch
    onnx_files.py run [MODEL NPZ]...       values by examples/onnx/predict.py's functions, on ONNX Runtime

Prints one JSON document.
"""

import json
import os
import sys
import zipfile

import numpy as np


def check(*paths):
    import onnx

    def describe(path):
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        return {
            "opset": [(o.domain, o.version) for o in model.opset_import],
            "metadata": {p.key: p.value for p in model.metadata_props},
            "inputs": [
                {
                    "name": i.name,
                    "type": onnx.TensorProto.DataType.Name(i.type.tensor_type.elem_type),
                    "dims": [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim],
                    "doc": i.doc_string,
                }
                for i in model.graph.input
            ],
            "weights": sorted({onnx.TensorProto.DataType.Name(t.data_type) for t in model.graph.initializer}),
        }

    return {"onnx": onnx.__version__, "models": [describe(path) for path in paths]}


def arrays(npz_path, json_path):
    with open(json_path) as file:
        inputs = json.load(file)["inputs"]
    npz = np.load(npz_path)
    with zipfile.ZipFile(npz_path) as archive:
        entries = [(i.filename, i.compress_type, i.flag_bits) for i in archive.infolist()]
        versions = {archive.read(i)[:8].hex() for i in archive.infolist()}
    assert versions == {b"\x93NUMPY\x01\x00".hex()}, versions
    for name, value in inputs.items():
        array = npz[name]
        assert array.dtype.str == {"float32": "<f4", "int32": "<i4"}[value["type"]], name
        assert list(array.shape) == value["dims"] and array.flags.c_contiguous, name
        # As float64, too: the text has all digits.
        assert np.array_equal(array.astype("f8").ravel(), np.array(value["data"], dtype="f8")), name
    return {"numpy": np.__version__, "names": sorted(npz.files), "entries": entries}


def run(*paths):
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../examples/onnx"))
    import onnxruntime as ort
    import predict

    def values(model, inputs):
        session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        (output,) = session.run(["output"], predict.read_inputs(session, inputs))
        return predict.read_output(output, session.get_modelmeta().custom_metadata_map).tolist()

    return {"onnxruntime": ort.__version__, "values": [values(*pair) for pair in zip(paths[::2], paths[1::2])]}


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    json.dump({"check": check, "arrays": arrays, "run": run}[command](*rest), sys.stdout)
