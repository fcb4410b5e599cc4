"""Stands in for pymatgen where it is not installed, as beside the newer PyTorch: networks run there on graphs sent to them.

examples/train imports pymatgen for structures, which are then not read, and for the elements' symbols, which are here.
"""
import sys
from types import ModuleType

SYMBOLS = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh
Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr
Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
""".split()


class Element:
    """What megnet.py asks of one."""

    def __init__(self, symbol):
        self.symbol, self.Z = symbol, SYMBOLS.index(symbol) + 1

    @classmethod
    def from_Z(cls, number):
        return cls(SYMBOLS[number - 1])


def install():
    """`from pymatgen.core import Element, Lattice, Structure` works from here on; a Structure cannot be made."""
    core = ModuleType("pymatgen.core")
    core.Element, core.Lattice, core.Structure = Element, None, None
    sys.modules.update({"pymatgen": ModuleType("pymatgen"), "pymatgen.core": core})
