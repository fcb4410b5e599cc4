"""Write examples/structures: well-known ionic crystals with literature cell parameters, in three formats.

Coordinates and cells (Å) are the usual textbook values. CIF files named *-P1.cif list every atom; the other CIF files
list symmetry operators and the asymmetric unit. TiO2 anatase, MgAl2O4 and the displaced MgO cell break the pattern on
purpose: a longer cell, a larger one, and one whose neighbour distances have no ties.
"""
from __future__ import annotations

import warnings

import numpy as np
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp import Poscar

from graph import REPO

FOLDER = REPO / "examples/structures"
THIRD = [1 / 3, 2 / 3]


def crystals() -> dict[str, Structure]:
    """File name -> conventional cell. pymatgen takes origin choice 1 where the space group has two."""
    o, h, q = 0.0, 0.5, 0.25
    cube, hexa, tetra = Lattice.cubic, Lattice.hexagonal, Lattice.tetragonal
    table = [
        ("NaCl-rocksalt.cif", "Fm-3m", cube(5.6402), "Na Cl", [[o, o, o], [h, h, h]]),
        ("CsCl.cif", "Pm-3m", cube(4.123), "Cs Cl", [[o, o, o], [h, h, h]]),
        ("ZnS-zincblende.cif", "F-43m", cube(5.4093), "Zn S", [[o, o, o], [q, q, q]]),
        ("ZnO-wurtzite.cif", "P6_3mc", hexa(3.2495, 5.2069), "Zn O", [THIRD + [o], THIRD + [0.3821]]),
        ("CaF2-fluorite.cif", "Fm-3m", cube(5.4626), "Ca F", [[o, o, o], [q, q, q]]),
        ("TiO2-rutile.cif", "P4_2/mnm", tetra(4.5937, 2.9587), "Ti O", [[o, o, o], [0.3053, 0.3053, o]]),
        ("TiO2-anatase-P1.cif", "I4_1/amd", tetra(3.7842, 9.5146), "Ti O", [[o, o, o], [o, o, 0.2081]]),
        ("SrTiO3-perovskite.cif", "Pm-3m", cube(3.905), "Sr Ti O", [[h, h, h], [o, o, o], [h, o, o]]),
        ("Al2O3-corundum.cif", "R-3c", hexa(4.7587, 12.9929), "Al O", [[o, o, 0.35216], [0.30624, o, q]]),
        ("MgAl2O4-spinel.cif", "Fd-3m", cube(8.0831), "Mg Al O", [[o, o, o], [0.625] * 3, [0.3874] * 3]),
        ("Li2O-antifluorite.vasp", "Fm-3m", cube(4.619), "O Li", [[o, o, o], [q, q, q]]),
        ("Cu2O-cuprite.vasp", "Pn-3m", cube(4.2696), "O Cu", [[o, o, o], [q, q, q]]),
    ]
    cells = {name: Structure.from_spacegroup(*cell[:2], cell[2].split(), cell[3]) for name, *cell in table}
    magnesia = Structure.from_spacegroup("Fm-3m", cube(4.2112), ["Mg", "O"], [[o, o, o], [h, h, h]])
    moved = magnesia.cart_coords + np.random.default_rng(7).normal(0, 0.05, (len(magnesia), 3))  # Å
    cells["MgO-displaced.extxyz"] = Structure(magnesia.lattice, magnesia.species, moved, coords_are_cartesian=True)
    return cells


def extxyz(structure: Structure) -> str:
    """Extended XYZ: atom count, a comment line with the lattice rows, then one Cartesian position (Å) a line."""
    lattice = " ".join(f"{x:.8f}" for x in structure.lattice.matrix.ravel() + 0.0)
    lines = [str(len(structure)), f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="T T T"']
    lines += [" ".join([site.specie.symbol, *(f"{x:.8f}" for x in site.coords)]) for site in structure]
    return "\n".join(lines) + "\n"


def text(name: str, structure: Structure) -> str:
    """The file's content; the format follows the suffix."""
    if name.endswith(".extxyz"):
        return extxyz(structure)
    if name.endswith(".vasp"):
        return str(Poscar(structure, comment=name.removesuffix(".vasp"), sort_structure=True))
    body = str(CifWriter(structure, symprec=None if "-P1" in name else 0.01))
    # The first line names the writer; say instead what the file is.
    return f"# {name.removesuffix('.cif')}, written by examples/train/structures.py\n" + body.split("\n", 1)[1]


def main() -> None:
    warnings.simplefilter("ignore")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, structure in crystals().items():
        (FOLDER / name).write_text(text(name, structure))
        read = structure if name.endswith("xyz") else Structure.from_file(FOLDER / name)
        if len(read) != len(structure) or abs(read.volume - structure.volume) > 1e-3:
            raise SystemExit(f"{name}: wrote {len(structure)} atoms, read back {len(read)}")
        spacegroup = structure.get_space_group_info()[0]
        print(f"{name:24s} {len(structure):3d} atoms  {spacegroup:10s} nearest {nearest(structure):.4f} Å")


def nearest(structure: Structure) -> float:
    """The shortest distance between two atoms or an atom and its image, Å."""
    return min(n.nn_distance for nbrs in structure.get_all_neighbors(5) for n in nbrs)


if __name__ == "__main__":
    main()
