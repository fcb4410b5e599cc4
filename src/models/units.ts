/**
 * Units of properties by the names that published checkpoints and data sets give them.
 * Sources: pre-trained/README of github.com/txie-93/cgcnn; columns of JARVIS-DFT (dft_3d), Choudhary et al.,
 * npj Comput. Mater. 6, 173 (2020).
 */
const UNITS: ReadonlyMap<string, string> = new Map([
  ["formation_energy_per_atom", "eV/atom"],
  ["band_gap", "eV"],
  ["formation_energy_peratom", "eV/atom"],
  ["optb88vdw_bandgap", "eV"],
  ["optb88vdw_total_energy", "eV/atom"],
  ["mbj_bandgap", "eV"],
  ["ehull", "eV/atom"],
  ["bulk_modulus_kv", "GPa"],
  ["shear_modulus_gv", "GPa"],
]);

/** Undefined for a name that is not known. */
export function unitOf(property: string): string | undefined {
  return UNITS.get(property);
}
