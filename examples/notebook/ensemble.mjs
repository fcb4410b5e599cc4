// %% [markdown]
// # An ensemble, cell by cell
//
// Three small networks predict the electrostatic energy of ionic crystals: how far they agree, which atoms the energy
// comes from, and which crystals are alike to a network. The networks are toys that ship with unitcell; the lines are the
// same for checkpoints of yours.

// %%
import { readdir, readFile } from "node:fs/promises";
import { embed, ensemble, loadModel, parseStructures, predict } from "unitcell";

const EXAMPLES = ".."; // as seen from this folder, where notebooks run
const load = async (name) =>
  loadModel(await readFile(`${EXAMPLES}/saved_models/${name}_ionic_best.pt`), { name, unit: "eV/atom" });
const models = await Promise.all(["cgcnn", "alignn", "megnet"].map(load));
const together = ensemble(models);

const structures = [];
for (const filename of (await readdir(`${EXAMPLES}/structures`)).sort())
  structures.push(...parseStructures(await readFile(`${EXAMPLES}/structures/${filename}`, "utf8"), { filename }));
console.log(`${models.length} networks, ${structures.length} structures`);

// %% [markdown]
// ## Predictions and their spread
//
// The value is the mean of the three, the spread their standard deviation: no error bar, but where they disagree, none of
// them should be believed.

// %%
const records = await predict(together, structures);
const bar = (x, most) => "█".repeat(Math.round((30 * x) / most));
const most = Math.max(...records.map(({ std }) => std));
for (const { id, value, std } of records.toSorted((a, b) => b.std - a.std))
  console.log(`${id.padEnd(18)} ${value.toFixed(3).padStart(8)} ± ${std.toFixed(3)} eV/atom  ${bar(std, most)}`);

// %% [markdown]
// ## Shares of the atoms
//
// CGCNN's prediction divided among the atoms of spinel (`shares` add up to it), as means over each element's.

// %%
const SYMBOLS = new Map([
  [8, "O"],
  [12, "Mg"],
  [13, "Al"],
]);
const spinel = structures.find(({ id }) => id === "MgAl2O4-spinel");
const [{ shares }] = await embed(models[0], [spinel], { shares: true });
for (const [number, symbol] of SYMBOLS) {
  const own = shares.filter((_, atom) => spinel.numbers[atom] === number);
  const sum = own.reduce((a, b) => a + b, 0);
  console.log(`${symbol.padEnd(2)} ${String(own.length).padStart(2)} atoms, together ${sum.toFixed(3)} eV/atom`);
}
console.log(`sum ${shares.reduce((a, b) => a + b, 0).toFixed(3)} eV/atom`);

// %% [markdown]
// ## Which crystals are alike?
//
// A network's vector of a crystal is what its last layers read. Crystals with vectors at a small angle are alike to it.

// %%
const vectors = await embed(models[1], structures);
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
const cosine = (a, b) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
for (const { id, crystal } of vectors) {
  const others = vectors.filter((other) => other.id !== id);
  const near = others
    .map((other) => ({ id: other.id, likeness: cosine(crystal, other.crystal) }))
    .sort((a, b) => b.likeness - a.likeness);
  console.log(
    `${id.padEnd(18)} ${near
      .slice(0, 2)
      .map(({ id, likeness }) => `${id} ${likeness.toFixed(3)}`)
      .join(", ")}`,
  );
}
