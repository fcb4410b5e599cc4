/**
 * How a crystal becomes a graph: the settings a checkpoint was trained with, part of the model's config. Each rule is
 * the reference code's own, quirks included; its builder in src/graphs says what they are.
 */
export type GraphConfig = NearestGraphConfig | ShellGraphConfig | RadiusGraphConfig | SphereGraphConfig;

/** CGCNN: edges to the `maxNeighbors` nearest atoms within `cutoff` (Å), filled up where there are fewer. */
export interface NearestGraphConfig {
  readonly select: "nearest";
  readonly cutoff: number;
  readonly maxNeighbors: number;
}

/** What becomes of a shell of equally distant neighbours that ALIGNN's rounding cuts in two. */
export type NeighborPolicy =
  /** As upstream's float64 arithmetic happens to cut it. */
  | "upstream"
  /** Every neighbour within SHELL_TOLERANCE of the last place is kept: the graph has the crystal's symmetry. */
  | "symmetric";

/** ALIGNN's "k-nearest": all neighbours no farther than the `maxNeighbors`-th; the cutoff (Å) grows until there are so many. */
export interface ShellGraphConfig {
  readonly select: "shell";
  readonly cutoff: number;
  readonly maxNeighbors: number;
  /** Upstream's use_canonize: a bond seen from both ends counts once. */
  readonly canonize: boolean;
  readonly neighborPolicy: NeighborPolicy;
  readonly lineGraph: boolean;
}

/** ALIGNN's "radius_graph": all neighbours within `cutoff` (Å), which grows by `cutoffExtra` until the last atom has one. */
export interface RadiusGraphConfig {
  readonly select: "radius-graph";
  readonly cutoff: number;
  readonly cutoffExtra: number;
  readonly lineGraph: boolean;
}

/** matgl's (MEGNet): all neighbours within `cutoff` (Å). */
export interface SphereGraphConfig {
  readonly select: "sphere";
  readonly cutoff: number;
}

/** Centres of a Gaussian expansion: first, first + step, ... (count of them), each of width `step`; Å. */
export interface GaussianBasis {
  readonly first: number;
  readonly step: number;
  readonly count: number;
}

interface CommonConfig {
  readonly task: "regression" | "classification";
  /** Numbers the network gives a crystal: of a classifier the classes, or 1 where that is the probability of class 1. */
  readonly outputs: number;
  /** Columns of the element table. */
  readonly elementFeatures: number;
}

/** CGCNN's sizes and settings; the names of upstream's arguments in brackets. */
export interface CgcnnConfig extends CommonConfig {
  readonly type: "cgcnn";
  /** Width of an atom's hidden vector (atom_fea_len). */
  readonly hidden: number;
  /** Convolution layers (n_conv). */
  readonly convs: number;
  /** Width of the layers after pooling (h_fea_len). */
  readonly dense: number;
  /** Layers after pooling, the first included (n_h). */
  readonly denseLayers: number;
  readonly graph: NearestGraphConfig;
  readonly basis: GaussianBasis;
}

/** ALIGNN's sizes and settings; the names of upstream's config.json in brackets. */
export interface AlignnConfig extends CommonConfig {
  readonly type: "alignn";
  /** "batch" in `alignn`, "layer" in `alignn_atomwise`. */
  readonly norm: "batch" | "layer";
  /** hidden_features. */
  readonly hidden: number;
  /** embedding_features. */
  readonly embedding: number;
  /** Gaussians of a bond length (edge_input_features) and of a bond cosine (triplet_input_features). */
  readonly edgeBasis: number;
  readonly angleBasis: number;
  readonly alignnLayers: number;
  readonly gcnLayers: number;
  readonly link: "identity" | "log" | "logit";
  /** Numbers of the crystal beside its graph; 6 are its lattice parameters (use_lattice_prop). */
  readonly extraFeatures: number;
  /** alignn_atomwise's use_cutoff_function: multiplies the bond's features, or takes the place of its length. */
  readonly envelope?: { readonly cutoff: number; readonly exponent: number; readonly multiply: boolean };
  /** alignn_atomwise's use_penalty, where it reaches the output (energy_mult_natoms false). */
  readonly penalty?: { readonly factor: number; readonly threshold: number };
  readonly graph: ShellGraphConfig | RadiusGraphConfig;
}

/** MEGNet's sizes and settings, as matgl has them; its argument names in brackets. */
export interface MegnetConfig extends CommonConfig {
  readonly type: "megnet";
  /** Gaussians of a bond length, and the factor of the squared difference, 1/Å² (gauss_width). */
  readonly edgeBasis: number;
  readonly gaussWidth: number;
  /** Linear layers: outputs of each, in the encoders, the dense layers of a block, its convolution, the output. */
  readonly encoder: readonly number[];
  readonly dense: readonly number[];
  readonly conv: readonly number[];
  readonly head: readonly number[];
  readonly blocks: number;
  /** Width of the Set2Set readouts' vectors, and their steps (niters_set2set). */
  readonly set2setWidth: number;
  readonly set2setSteps: number;
  /** Numbers of the crystal's state (dim_state_embedding); rows of the table they are taken from (ntypes_state), or 0. */
  readonly stateFeatures: number;
  readonly stateTypes: number;
  readonly graph: SphereGraphConfig;
}

/** One row per architecture. */
export type ModelConfig = CgcnnConfig | AlignnConfig | MegnetConfig;
