"""Strict checks of ONNX files, and what is in them, one line of JSON a file: check_onnx.py FILE..."""

import json
import sys

import onnx


def shape(value):
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def read(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    known = {v.name for v in [*inferred.graph.value_info, *inferred.graph.output] if v.type.tensor_type.HasField("shape")}
    made = [name for node in model.graph.node for name in node.output]
    return {
        "ir": model.ir_version,
        "opsets": [[o.domain, o.version] for o in model.opset_import],
        "producer": model.producer_name,
        "metadata": {p.key: p.value for p in model.metadata_props},
        "inputs": [
            [v.name, onnx.TensorProto.DataType.Name(v.type.tensor_type.elem_type), shape(v), v.doc_string]
            for v in model.graph.input
        ],
        "outputs": [[v.name, shape(v)] for v in inferred.graph.output],
        "nodes": len(made),
        "unknown": [name for name in made if name not in known],
        "weights": sum(len(t.raw_data) for t in model.graph.initializer),
    }


if sys.argv[1:] == ["--version"]:
    print(json.dumps(onnx.__version__))
else:
    for path in sys.argv[1:]:
        print(json.dumps(read(path)), flush=True)
