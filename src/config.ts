/** How a crystal becomes a graph: the settings a checkpoint was trained with, part of the model's config. */
export interface GraphConfig {
  /** Å; neighbours farther than this are not seen. */
  readonly cutoff: number;
  /** Edges per atom: the nearest so many neighbours. */
  readonly maxNeighbors: number;
}

/** Centres of a Gaussian expansion: first, first + step, ... (count of them), each of width `step`; Å. */
export interface GaussianBasis {
  readonly first: number;
  readonly step: number;
  readonly count: number;
}

/** CGCNN's sizes and settings; the names of upstream's arguments in brackets. */
export interface CgcnnConfig {
  readonly type: "cgcnn";
  readonly task: "regression" | "classification";
  /** Rows of fc_out: 1, or the number of classes. */
  readonly outputs: number;
  /** Columns of the element table (orig_atom_fea_len). */
  readonly elementFeatures: number;
  /** Width of an atom's hidden vector (atom_fea_len). */
  readonly hidden: number;
  /** Convolution layers (n_conv). */
  readonly convs: number;
  /** Width of the layers after pooling (h_fea_len). */
  readonly dense: number;
  /** Layers after pooling, the first included (n_h). */
  readonly denseLayers: number;
  readonly graph: GraphConfig;
  readonly basis: GaussianBasis;
}

/** One row per architecture. */
export type ModelConfig = CgcnnConfig;

/**
 * Graph settings of the published CGCNN checkpoints, whose files do not record them.
 * Source: defaults of CIFData in CGCNN's data.py (max_num_nbr 12, radius 8, dmin 0, step 0.2).
 */
export const CGCNN_GRAPH_DEFAULTS = { radius: 8, max_num_nbr: 12, dmin: 0, step: 0.2 } as const;
