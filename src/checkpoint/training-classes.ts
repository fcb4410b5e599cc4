/**
 * Classes of PyTorch that training leaves in checkpoints although nobody saved them: the state of some schedulers holds a
 * method, and with it the whole scheduler and its optimizer (OneCycleLR until torch 2.4, and so every ALIGNN download).
 * loadCheckpoint lets these be inert objects, and refuses every other name as loadTorch does.
 * Sources: torch/optim/lr_scheduler.py and the modules of torch/optim, torch 1.9 to 2.4.
 */
const SCHEDULER_METHODS: Readonly<Record<string, readonly string[]>> = {
  OneCycleLR: ["_annealing_cos", "_annealing_linear"],
  CyclicLR: ["_triangular_scale_fn", "_triangular2_scale_fn", "_exp_range_scale_fn"],
};

/** Each in a module of its name in small letters, but for SparseAdam. */
const OPTIMIZERS = "Adadelta Adagrad Adam Adamax AdamW ASGD LBFGS NAdam RAdam RMSprop Rprop SGD".split(" ");

/** For ReadOptions.unknownClasses. */
export const TRAINING_CLASSES: readonly string[] = [
  ...OPTIMIZERS.map((name) => `torch.optim.${name.toLowerCase()}.${name}`),
  "torch.optim.sparse_adam.SparseAdam",
  ...Object.entries(SCHEDULER_METHODS).flatMap(([name, methods]) => {
    const scheduler = `torch.optim.lr_scheduler.${name}`;
    return [scheduler, ...methods.map((method) => `${scheduler}.${method}`)];
  }),
  "builtins.getattr",
];
