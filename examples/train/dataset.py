"""Ionic crystals from prototypes, labelled with their electrostatic (Ewald) energy.

Nothing is downloaded: prototypes, formal charges and pymatgen's Shannon radii decide everything, a seed the rest.
Most of the crystals do not exist in nature; what the label says about them is exact all the same.
"""
from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

import numpy as np
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.core import Lattice, Species, Structure

ANIONS = {-1: "F Cl Br I", -2: "O S Se Te", -3: "N P As"}
CATIONS = {
    1: "Li Na K Rb Cs Cu Ag Tl",
    2: "Be Mg Ca Sr Ba Zn Cd Hg Mn Fe Co Ni Cu Pb Eu",
    3: "Al Ga In Sc Y La Ce Nd Sm Gd Dy Er Lu Ti V Cr Mn Fe Co Bi",
    4: "Si Ge Sn Pb Ti Zr Hf Mn Ce Th U",
    5: "V Nb Ta Sb",
    6: "Mo W Re",
}
OTHER_RADII = {("P", -3): 2.12, ("As", -3): 2.22}  # Å, Pauling: no Shannon value exists


@dataclass(frozen=True)
class Prototype:
    """`template` holds Na and Al for the first and second cation, O for the anion, at any size."""

    name: str
    template: Structure
    charges: tuple[tuple[int, ...], ...]  # allowed formal charges, cations first, anion last


@dataclass
class Sample:
    """One labelled crystal."""

    structure: Structure  # decorated with oxidation states
    prototype: str
    system: str  # the elements, cations first, e.g. "Na-Cl", whatever the prototype
    energy: float  # eV/atom


def _cell(group: str, lattice: Lattice, species: str, coords: list[list[float]]) -> Structure:
    """The primitive cell of a structure given by its space group (pymatgen: origin choice 1) and orbit points."""
    return Structure.from_spacegroup(group, lattice, species.split(), coords).get_primitive_structure()


def prototypes() -> list[Prototype]:
    """Seventeen structure types. Free coordinates and axial ratios are those of the mineral named in the comment."""
    o, h, q = 0.0, 0.5, 0.25
    cube, hexa, tetra = Lattice.cubic, Lattice.hexagonal, Lattice.tetragonal
    mx = ((1, -1), (2, -2), (3, -3))
    mx2 = ((2, -1), (4, -2))
    m2x = ((1, -2),)
    third = [1 / 3, 2 / 3]
    table = [
        ("rock salt", "Fm-3m", cube(4.8), "Na O", [[o, o, o], [h, h, h]], mx),
        ("caesium chloride", "Pm-3m", cube(3), "Na O", [[o, o, o], [h, h, h]], mx),
        ("zinc blende", "F-43m", cube(5.4), "Na O", [[o, o, o], [q, q, q]], mx),
        ("wurtzite", "P6_3mc", hexa(3.25, 5.2), "Na O", [third + [o], third + [0.382]], mx),  # ZnO
        ("nickel arsenide", "P6_3/mmc", hexa(3.6, 5.4), "Na O", [[o, o, o], third + [q]], mx),
        ("fluorite", "Fm-3m", cube(5.4), "Na O", [[o, o, o], [q, q, q]], mx2),
        ("antifluorite", "Fm-3m", cube(4.6), "O Na", [[o, o, o], [q, q, q]], m2x),
        ("rutile", "P4_2/mnm", tetra(4.594, 2.959), "Na O", [[o, o, o], [0.305, 0.305, o]], mx2),  # TiO2
        ("anatase", "I4_1/amd", tetra(3.785, 9.514), "Na O", [[o, o, o], [o, o, 0.208]], mx2),  # TiO2
        ("cadmium iodide", "P-3m1", hexa(4.24, 6.84), "Na O", [[o, o, o], third + [0.249]], mx2),  # CdI2
        ("cuprite", "Pn-3m", cube(4.27), "O Na", [[o, o, o], [q, q, q]], m2x),  # Cu2O
        ("corundum", "R-3c", hexa(4.759, 12.991), "Na O", [[o, o, 0.352], [0.306, o, q]], ((3, -2),)),  # Al2O3
        ("rhenium trioxide", "Pm-3m", cube(3.75), "Na O", [[o, o, o], [h, o, o]], ((3, -1), (6, -2))),
        ("lithium bismuthide", "Fm-3m", cube(6), "O Na Na", [[o, o, o], [q, q, q], [h, h, h]], ((1, -3),)),
        ("perovskite", "Pm-3m", cube(3.9), "Na Al O", [[h, h, h], [o, o, o], [h, o, o]],
         ((1, 2, -1), (2, 4, -2), (1, 5, -2), (3, 3, -2))),
        ("spinel", "Fd-3m", cube(8.08), "Na Al O", [[o, o, o], [0.625] * 3, [0.3874] * 3],
         ((2, 3, -2), (4, 2, -2))),  # MgAl2O4
        ("sodium ferrite", "R-3m", hexa(3.02, 16.1), "Na Al O", [[o, o, o], [o, o, h], [o, o, 0.234]],
         ((1, 3, -2),)),  # NaFeO2
    ]
    return [Prototype(name, _cell(*cell), charges) for name, *cell, charges in table]


def radius(element: str, charge: int) -> float:
    """Shannon crystal radius in Å, six-fold coordination where tabulated."""
    return OTHER_RADII.get((element, charge)) or float(Species(element, charge).ionic_radius)


def decorate(proto: Prototype, ions: list[tuple[str, int]]) -> tuple[Structure, float]:
    """
    The prototype with these ions, scaled until no cation-anion pair is shorter than its radius sum.
    Radii grow with coordination number n as (n / 6)^(1/8) (Pauling, Born exponent 9).
    @returns the structure and how well the cations fit together (1: all touch their anions)
    """
    structure = proto.template.copy()
    *cations, anion = ions
    names = dict(zip(["Na", "Al"], cations))
    dist = structure.distance_matrix
    scales = []
    for host, ion in names.items():
        centre = next(i for i, s in enumerate(structure) if s.specie.symbol == host)
        shell = [n.nn_distance for n in structure.get_neighbors(structure[centre], 6) if n.specie.symbol == "O"]
        coordination = sum(d < 1.15 * min(shell) for d in shell)
        scales.append((radius(*ion) + radius(*anion)) * (coordination / 6) ** 0.125 / min(shell))
    structure.scale_lattice(structure.volume * max(scales) ** 3)
    structure.replace_species({host: Species(*ion) for host, ion in {**names, "O": anion}.items()})
    return structure, min(scales) / max(scales)


def perturb(structure: Structure, rng: np.random.Generator) -> Structure:
    """A random size (±10 % in length); then a third ideal, a third strained, a third strained and displaced."""
    kind = rng.integers(3)
    strain = np.eye(3) * rng.uniform(0.92, 1.10)
    if kind > 0:
        noise = rng.uniform(-0.03, 0.03, (3, 3))
        strain = strain @ (np.eye(3) + (noise + noise.T) / 2)
    coords = structure.frac_coords
    lattice = Lattice(structure.lattice.matrix @ strain)
    if kind == 2:
        shift = rng.normal(0, rng.uniform(0.02, 0.12), coords.shape)  # Å
        coords = coords + lattice.get_fractional_coords(shift)
    return Structure(lattice, structure.species_and_occu, coords)


def ewald_energy(structure: Structure) -> float:
    """Electrostatic energy in eV/atom of a structure decorated with oxidation states; the cell must be neutral."""
    return float(EwaldSummation(structure).total_energy) / len(structure)


def chemistries(proto: Prototype, rng: random.Random) -> list[list[tuple[str, int]]]:
    """Every charge-balanced choice of ions for a prototype whose cations fit each other, in random order."""
    out = []
    for charges in proto.charges:
        tables = [CATIONS[q].split() for q in charges[:-1]] + [ANIONS[charges[-1]].split()]
        for symbols in itertools.product(*tables):
            if len(set(symbols)) == len(symbols):
                out.append(list(zip(symbols, charges)))
    rng.shuffle(out)
    return out


def generate(size: int, seed: int) -> list[Sample]:
    """About `size` labelled crystals, the same number per prototype, the same for the same seed."""
    rng, noise = random.Random(seed), np.random.default_rng(seed)
    samples: list[Sample] = []
    protos = prototypes()
    for proto in protos:
        pool = [(ions, *decorate(proto, ions)) for ions in chemistries(proto, rng)[: size // len(protos)]]
        pool = [(ions, ideal) for ions, ideal, fit in pool if fit > 0.75]
        for ions, ideal in itertools.islice(itertools.cycle(pool), size // len(protos)):
            structure = perturb(ideal, noise)
            system = "-".join(symbol for symbol, _ in ions)
            samples.append(Sample(structure, proto.name, system, ewald_energy(structure)))
    return samples


if __name__ == "__main__":
    found = generate(340, seed=1)
    for proto in prototypes():
        energies = [s.energy for s in found if s.prototype == proto.name]
        print(f"{proto.name:20s} {len(proto.template):3d} atoms  {min(energies):8.2f} .. {max(energies):7.2f} eV/atom")
