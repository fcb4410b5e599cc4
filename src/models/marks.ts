/** Tensors that every checkpoint of a network has, by which it is recognised. */

export const CGCNN_MARKS = [
  "embedding.weight",
  "convs.0.fc_full.weight",
  "conv_to_fc.weight",
  "fc_out.weight",
] as const;

export const ALIGNN_MARKS = [
  "atom_embedding.layer.0.weight",
  "edge_embedding.0.centers",
  "edge_embedding.1.layer.0.weight",
  "angle_embedding.0.centers",
  "fc.weight",
] as const;

export const MEGNET_MARKS = [
  "bond_expansion.rbf.centers",
  "embedding.layer_node_embedding.weight",
  "edge_encoder.layers.0.weight",
  "blocks.0.conv.edge_func.layers.0.weight",
  "edge_s2s.lstm.weight_hh_l0",
  "node_s2s.lstm.weight_hh_l0",
  "output_proj.layers.0.weight",
] as const;
