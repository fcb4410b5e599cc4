"""Check what the training rests on: Madelung constants, the saved files, our graphs and networks against upstream's.

The last two need the shared fixtures (../shared/fixtures beside the repository) and are skipped without them.
Exits with status 1 when a check fails.
"""
from __future__ import annotations

import json
import pickletools
import sys
import warnings
import zipfile

import numpy as np
import torch
from pymatgen.core import Lattice, Structure

import alignn
import megnet
from cgcnn import model_from_state, predict
from dataset import ewald_energy
from edge_graphs import SYMMETRIC, NearestSettings, nearest_graph, radius_graph
from graph import REPO, Graph, GraphSettings, build_graph, element_rows

FIXTURES = REPO.parent / "shared/fixtures"
COULOMB = 14.399645  # e²/(4 pi eps0), eV Å
MAX_BYTES = 150_000  # per checkpoint, so that the package stays small
PLAIN = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch FloatStorage", "torch LongStorage"}
MADELUNG = {  # per ion pair, in nearest-neighbour distances
    "NaCl": (1.747565, "Fm-3m", 5.64, 0.5, 0.5),
    "CsCl": (1.762675, "Pm-3m", 4.12, 0.5, np.sqrt(3) / 2),
    "ZnS": (1.638055, "F-43m", 5.41, 0.25, np.sqrt(3) / 4),
}


def report(name: str, error: float, limit: float) -> bool:
    """Print one line; True when the error is within the limit."""
    print(f"{'ok  ' if error <= limit else 'FAIL'} {name}: largest error {error:.2e}, limit {limit:.0e}")
    return error <= limit


def check_madelung() -> bool:
    """Ewald energies of three cubic crystals with charges +1 and -1 against the tabulated constants."""
    worst = 0.0
    for name, (constant, group, a, x, bond) in MADELUNG.items():
        crystal = Structure.from_spacegroup(group, Lattice.cubic(a), ["Na", "Cl"], [[0] * 3, [x] * 3])
        crystal.add_oxidation_state_by_element({"Na": 1, "Cl": -1})
        found = -2 * ewald_energy(crystal) * a * bond / COULOMB  # two atoms per ion pair
        print(f"     {name}: {found:.6f}, tabulated {constant:.6f}")
        worst = max(worst, abs(found - constant))
    return report("Madelung constants", worst, 2e-6)


def check_graphs() -> bool:
    """Our graphs against the stored upstream ones: distances, and indices wherever no two distances tie."""
    worst, compared = 0.0, 0
    for path in sorted((FIXTURES / "cgcnn/graphs").glob("*.json")):
        stored = json.loads(path.read_text())
        source = json.loads((FIXTURES / "structures" / path.name).read_text())
        ours = build_graph(Structure(source["lattice"], source["species"], source["frac_coords"]))
        dist = np.array(stored["nbr_dist"])
        worst = max(worst, float(np.abs(ours.nbr_dist - dist).max()))
        gap = np.diff(dist, axis=1) > 1e-6
        alone = np.pad(gap, ((0, 0), (1, 0)), constant_values=True) & np.pad(gap, ((0, 0), (0, 1)))
        if np.any(ours.nbr_idx[alone] != np.array(stored["nbr_idx"])[alone]):
            worst = float("inf")
        compared += int(alone.sum())
    print(f"     {compared} untied neighbour indices compared")
    return report("neighbour distances, Å", worst, 1e-6)


def check_goldens() -> bool:
    """Our model with published weights on stored graphs against upstream's float32 and float64 predictions."""
    goldens = json.loads((FIXTURES / "cgcnn/goldens.json").read_text())
    state = torch.load(FIXTURES / "cgcnn/formation-energy-per-atom.zip.pt")
    norm = goldens["checkpoints"]["formation-energy-per-atom"]["normalizer"]
    single = model_from_state(state)  # strict: names and shapes must all match
    double = model_from_state(state).double()
    rows, settings = torch.from_numpy(element_rows()), GraphSettings()
    worst = {"f32": 0.0, "f64": 0.0}
    for name, entry in goldens["structures"].items():
        stored = json.loads((FIXTURES / "cgcnn/graphs" / f"{name}.json").read_text())
        numbers = json.loads((FIXTURES / "structures" / f"{name}.json").read_text())["numbers"]
        graph = Graph(np.array(numbers), np.array(stored["nbr_idx"]), np.array(stored["nbr_dist"]))
        want = entry["predictions"]["formation-energy-per-atom"]
        for key, model in (("f32", single), ("f64", double)):
            value = float(predict(model, [graph], settings, rows)) * norm["std"] + norm["mean"]
            worst[key] = max(worst[key], abs(value - want[key]))
    print(f"     {len(goldens['structures'])} structures, {len(state)} tensors with upstream's names and shapes")
    f64 = report("published CGCNN, float64, eV/atom", worst["f64"], 1e-10)
    return report("published CGCNN, float32, eV/atom", worst["f32"], 1e-5) and f64


def check_alignn() -> bool:
    """Our graphs and network against upstream's float64 predictions: the default model, and smaller ones with other
    settings, LayerNorm among them."""
    structures = {name: Structure(entry["lattice"], entry["species"], entry["frac_coords"])
                  for name, entry in json.loads((FIXTURES / "alignn/structures.json").read_text())["structures"].items()}
    graphs = {name: nearest_graph(one) for name, one in structures.items()}
    unlike = {name: nearest_graph(one, NearestSettings(6.0, 8, use_canonize=False)) for name, one in structures.items()}
    names = ["alignn_default", "alignn_small_classification", "atomwise_graph"] + [f"variants/{name}" for name in (
        "atomic_number", "log_link", "logit_link", "multi_output", "no_line_graph", "no_canonize_nn8")]
    models = json.loads((FIXTURES / "alignn/goldens.json").read_text())["models"]
    passed = []
    for name in names:
        state = torch.load(FIXTURES / "alignn" / models[name]["checkpoint"])
        config = json.loads((FIXTURES / "alignn" / models[name]["config"]).read_text())["model"]
        model = alignn.model_from_state(state, config).double()  # strict: names and shapes must all match
        built = unlike if name.endswith("nn8") else graphs
        worst, other, smooth = 0.0, [], 0.0
        for key, want in models[name]["predictions"].items():
            graph = built[key]
            if (len(graph.source), len(graph.line.source)) != (want["edges"], want["line_edges"]):
                other.append(key)
            worst = max(worst, float(np.abs(alignn.predict(model, [graph]).numpy()[0] - want["f64"]).max()))
            if "f64_shell_tolerant" in want:
                whole = nearest_graph(structures[key], NearestSettings(shell_tolerance=SYMMETRIC))
                smooth = max(smooth, abs(float(alignn.predict(model, [whole])) - want["f64_shell_tolerant"]))
        print(f"     {name}: {len(built)} structures, other edge counts {other}"
              + (f", on whole shells {smooth:.1e}" if smooth else ""))
        passed.append(report(f"ALIGNN {name}, float64", max(worst, smooth), 1e-6) and not other)
    return all(passed)


def check_megnet() -> bool:
    """Our graphs and network with matgl's published weights against its float64 predictions and edge counts."""
    goldens = json.loads((FIXTURES / "megnet/goldens.json").read_text())
    norm = goldens["target_transformer"]
    model = megnet.model_from_state(torch.load(FIXTURES / "megnet/state.pt")).double()
    worst, other, empty = 0.0, [], []
    for entry in goldens["structures"]:
        source = json.loads((FIXTURES / "structures" / f"{entry['id']}.json").read_text())
        graph = radius_graph(Structure(source["lattice"], source["species"], source["frac_coords"]), goldens["cutoff"])
        if len(graph.source) != entry["n_edges"]:
            other.append(entry["id"])
        if entry["nan"]:
            empty.append(entry["id"])
            continue
        worst = max(worst, abs(float(megnet.predict(model, [graph])) * norm["std"] + norm["mean"] - entry["f64"]))
    print(f"     {len(goldens['structures']) - len(empty)} structures, other edge counts {other}, "
          f"no edges and upstream gives NaN: {empty}")
    return report("published MEGNet, float64, eV/atom", worst, 1e-9) and not other


def check_checkpoints() -> bool:
    """Saved files: small, only tensors and plain values inside, no paths."""
    ok = True
    for path in sorted((REPO / "examples/saved_models").glob("*_ionic_*.pt")):
        with zipfile.ZipFile(path) as archive:
            ops = list(pickletools.genops(archive.read(_pickle_name(archive))))
        names = {str(arg) for op, arg, _ in ops if op.name == "GLOBAL"}
        paths = [arg for op, arg, _ in ops if "UNICODE" in op.name and ("/" in arg or "\\" in arg)]
        size = path.stat().st_size
        good = names <= PLAIN and not paths and size <= MAX_BYTES
        print(f"{'ok  ' if good else 'FAIL'} {path.name}: {size} bytes, globals {sorted(names)}, path-like {paths}")
        ok &= good
    return ok


def _pickle_name(archive: zipfile.ZipFile) -> str:
    """torch.save puts everything under one folder named after the file."""
    return next(name for name in archive.namelist() if name.endswith("/data.pkl"))


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    passed = [check_madelung(), check_checkpoints()]
    if FIXTURES.is_dir():
        passed += [check_graphs(), check_goldens(), check_alignn(), check_megnet()]
    else:
        print("skip graphs and networks against upstream: no ../shared/fixtures beside this repository")
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
