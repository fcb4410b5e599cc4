/**
 * The entry unitcell/reader: checkpoints' values and tensors, and no more. What a file of torch.save's needs is loaded at
 * once, readers of other containers when one is met. `unitcell/checkpoints` and `unitcell` have all of it too.
 */
export { type ByteSource, DEFAULT_LIMITS, type Input, type Limits } from "./bytes.js";
export { type Checkpoint, type CheckpointFiles, loadCheckpoint } from "./checkpoint.js";
export { type ErrorCode, isUnitcellError, UnitcellError } from "./errors.js";
export { loadTorch, openTorch, type ReadOptions, TorchFile, type TorchFormat } from "./formats/torch.js";
export { Storage, TorchTensor } from "./formats/torch-tensors.js";
export {
  ByteArray,
  Complex,
  Float,
  isFloatAt,
  NumpyArray,
  NumpyDtype,
  NumpyScalar,
  OrderedDict,
  PythonGlobal,
  PythonObject,
  SparseTensor,
  TorchConstant,
  TorchSize,
  type TorchValue,
} from "./formats/values.js";
export { type DType, type StateDict, type Tensor, toFloat32 } from "./tensor.js";
