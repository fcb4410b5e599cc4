import { test } from "uvu";
import * as assert from "uvu/assert";
import { type ErrorCode, isUnitcellError, UnitcellError } from "../src/errors.js";
import { type CifBlock, readCifBlocks } from "../src/structures/cif.js";
import { parseStructures } from "../src/structures/parse.js";
import type { Structure } from "../src/structures/structure.js";
import { fuzz } from "./fuzz.js";
import { parseAll } from "./parsed.js";

// --- tokens and blocks ------------------------------------------------------------------------------------------

function blocks(text: string): CifBlock[] {
  return [...readCifBlocks(text)].map((block) => {
    if (block instanceof UnitcellError) throw block;
    return block;
  });
}

const valueRows: [name: string, item: string, value: string][] = [
  ["a bare word", "_t word", "word"],
  ["the value on the next line", "_t\n\n  word", "word"],
  ["single quotes", "_t 'two words'", "two words"],
  ["double quotes", '_t "two words"', "two words"],
  ["a quote inside that no space follows", "_t 'a dog's life'", "a dog's life"],
  ["the other quote inside", '_t "it\'s"', "it's"],
  ["an apostrophe inside a bare word", "_t X'Pert", "X'Pert"],
  ["a quoted value at the end of the text", "_t 'x'", "x"],
  ["an empty quoted value", "_t ''", ""],
  ["a quoted keyword is a value", "_t 'loop_'", "loop_"],
  ["a quoted tag is a value", "_t '_tag'", "_tag"],
  ["a hash inside a word", "_t a#b", "a#b"],
  ["a comment after the value", "_t word # not this", "word"],
  ["a text field", "_t\n;one\ntwo\n;", "one\ntwo"],
  ["keywords in a text field are text", "_t\n;\ndata_x\nloop_\n_u 1\n;", "\ndata_x\nloop_\n_u 1"],
  ["a semicolon inside a line is a word", "_t ;word", ";word"],
  ["an empty text field", "_t\n;\n;", ""],
];
for (const [name, item, value] of valueRows)
  test(`value: ${name}`, () => assert.equal(blocks(`data_x\n${item}\n`)[0].columns.get("_t")?.values, [value]));

test("tags and keywords in any case, dots in tags", () => {
  const [block] = blocks("DATA_Name\nLOOP_\n_Atom_Site.Fract_X _B 1 2 3 4");
  assert.is(block.name, "Name");
  assert.equal(block.columns.get("_atom_site_fract_x"), { values: ["1", "3"], lines: [3, 3] });
});

test("rows break anywhere, loops follow each other", () => {
  const [block] = blocks("data_x loop_ _a _b 1\n2 3\n4\nloop_ _c 5 _d 6");
  assert.equal(
    [...block.columns].map(([tag, { values }]) => `${tag}=${values}`),
    ["_a=1,3", "_b=2,4", "_c=5", "_d=6"],
  );
});

const syntaxRows: [name: string, text: string, code: ErrorCode, message: RegExp][] = [
  ["no block", "# only\n_cell_length_a 5", "CORRUPT", /^line 2: expected a data_ block, found "_cell_length_a"/],
  [
    "unclosed text field",
    "data_x\n_t\n;\n_u 1\n",
    "CORRUPT",
    /^data_x \(line \d\): line 3: text field is never closed/,
  ],
  [
    "unclosed quote",
    "data_x\n_t 'abc\n_u 1",
    "CORRUPT",
    /^data_x \(line \d\): line 2: quoted value "'abc" is not closed/,
  ],
  [
    "a tag without value",
    "data_x\n_t\n_u 1",
    "CORRUPT",
    /^data_x \(line \d\): line 3: expected a value for _t, found "_u"/,
  ],
  ["a tag at the end", "data_x\n_t", "CORRUPT", /expected a value for _t, found the end of the file/],
  ["a value too many", "data_x\n_t 1\n2", "CORRUPT", /^data_x \(line \d\): line 3: value "2" belongs to no tag/],
  [
    "a loop without tags",
    "data_x\nloop_\n1 2",
    "CORRUPT",
    /^data_x \(line \d\): line 3: expected tags after loop_, found "1"/,
  ],
  ["a loop at the end", "data_x\nloop_\n", "CORRUPT", /expected tags after loop_, found the end of the file/],
  [
    "an incomplete row",
    "data_x\nloop_\n_a\n_b\n1 2\n3\n",
    "CORRUPT",
    /^data_x \(line \d\): line 6: loop of 2 columns \(_a, .* from line 2\) has 3 values/,
  ],
  ["a tag given twice", "data_x\n_t 1\n_t 2", "CORRUPT", /^data_x \(line \d\): line 3: _t is given twice .*line 2/],
  [
    "a save frame",
    "data_x\nsave_y\n_t 1\nsave_",
    "UNSUPPORTED",
    /^data_x \(line \d\): line 2: "save_y" is not supported/,
  ],
  ["global_", "global_\n_t 1", "UNSUPPORTED", /"global_"/],
  ["stop_", "data_x\nloop_ _a 1 stop_", "UNSUPPORTED", /"stop_"/],
  [
    "a CIF 2.0 list",
    "#\\#CIF_2.0\ndata_x\n_t [1 2]",
    "UNSUPPORTED",
    /^data_x \(line \d\): line 3: lists and tables of CIF 2.0/,
  ],
  [
    "CIF 2.0 triple quotes",
    "#\\#CIF_2.0\ndata_x\n_t '''a'''",
    "UNSUPPORTED",
    /^data_x \(line \d\): line 3: triple quotes/,
  ],
];
for (const [name, text, code, message] of syntaxRows)
  test(`syntax: ${name}`, () => {
    const [first] = [...readCifBlocks(text)];
    assert.ok(isUnitcellError(first, code), `${first}`);
    assert.match((first as UnitcellError).message, message);
  });

test("the same tag twice with the same value does no harm", () => assert.is(blocks("data_x _t 1 _t 1").length, 1));

test("a bad block does not take the next one with it", () => {
  const results = [...readCifBlocks("data_a _t 1 2\n'open\n_u 3\ndata_b _t 5")];
  assert.ok(results[0] instanceof UnitcellError);
  assert.is((results[1] as CifBlock).name, "b");
  assert.is(results.length, 2);
});

// --- structures -------------------------------------------------------------------------------------------------

const CELL = [
  "_cell_length_a 5.64(2)",
  "_cell_length_b 5.64",
  "_cell_length_c 5.64",
  "_cell_angle_alpha 90",
  "_cell_angle_beta 90.",
  "_cell_angle_gamma +90.0(1)",
].join("\n");

/** One block: cell (and P 1 where `extra` names no symmetry), extra lines (8 onwards), then a loop of sites with these columns after label, x, y, z. */
function cif(sites: string[], { extra = "", columns = "" } = {}): string {
  const tags = ["label", "fract_x", "fract_y", "fract_z", ...columns.split(" ").filter(Boolean)];
  const loop = ["loop_", ...tags.map((tag) => `_atom_site_${tag}`), ...sites];
  const symmetry = /symm|symop|space_group/.test(extra) ? "" : " _space_group_IT_number 1";
  return ["data_x", CELL + symmetry, ...(extra ? [extra] : []), ...loop].join("\n");
}

function parseOne(text: string): Structure {
  const structures = parseStructures(text, { format: "cif" });
  assert.is(structures.length, 1);
  return structures[0];
}

const FORMULA = (formula: string) => ({ extra: `_chemical_formula_sum '${formula}'` });
const TYPES = { columns: "type_symbol" };
const elementRows: [name: string, site: string, options: Parameters<typeof cif>[1], number: number, note?: RegExp][] = [
  ["type with charge", "A1 0 0 0 Zn2+", TYPES, 30],
  ["type with charge, sign first", "A1 0 0 0 Fe+3", TYPES, 26],
  ["type with charge 1", "A1 0 0 0 Na1+", TYPES, 11],
  ["type with a bare sign", "A1 0 0 0 Cl-", TYPES, 17],
  ["upper-case type", "A1 0 0 0 CO", TYPES, 27],
  ["unknown type falls back to the label", "Ti1 0 0 0 ?", TYPES, 22],
  ["the type wins over the label", "CA1 0 0 0 C", TYPES, 6],
  ["label", "Ti1 0 0 0", {}, 22],
  ["label with a letter behind", "Oa 0 0 0", {}, 8],
  ["label with words behind", "O_ap 0 0 0", {}, 8],
  ["lower-case label", "ba 0 0 0", {}, 56],
  ["Co1 is cobalt", "Co1 0 0 0", {}, 27],
  ["Co1 is carbon when the formula has no Co", "Co1 0 0 0", FORMULA("C6 H6 O"), 6],
  ["CA1 is calcium with a note", "CA1 0 0 0", {}, 20, /CA1: no type symbol and an upper-case label/],
  ["CA1 is carbon when the formula has no Ca", "CA1 0 0 0", FORMULA("C6 H6"), 6],
  ["CA1 is calcium when the formula has it", "CA1 0 0 0", FORMULA("C O3 Ca"), 20],
  ["HO1 is hydrogen when the formula has no Ho", "HO1 0 0 0", FORMULA("H2 O"), 1],
  ["atom types settle it, too", "HO1 0 0 0", { extra: "loop_\n_atom_type_symbol\nH\nO" }, 1],
  ["FE1 is iron with a note, as F is an element", "FE1 0 0 0", {}, 26, /FE1: no type symbol/],
  ["OW1 is oxygen", "OW1 0 0 0", {}, 8],
  ["D is hydrogen with a note", "D1 0 0 0", {}, 1, /D1: deuterium \(D\) was read as hydrogen/],
  ["Wat is oxygen with a note", "Wat1 0 0 0", {}, 8, /Wat1: has hydrogens without coordinates/],
  ["OH is oxygen with a note", "OH 0 0 0", {}, 8, /OH: has hydrogens without coordinates/],
  ["attached hydrogens are noted", "O1 0 0 0 2", { columns: "attached_hydrogens" }, 8, /O1: has hydrogens/],
];
for (const [name, site, options, number, note] of elementRows)
  test(`element: ${name}`, () => {
    const structure = parseOne(cif([site], options));
    assert.equal([...structure.numbers], [number]);
    if (note) assert.match(structure.notes?.join() ?? "", note);
    else assert.is(structure.notes, undefined);
  });

const coordinateRows: [text: string, x: number][] = [
  ["0.25(3)", 0.25],
  [".0573(2)", 0.0573],
  ["+0.375", 0.375],
  ["1.", 0],
  ["2.5E-1", 0.25],
  ["-0.25", 0.75],
  ["0.3333", 1 / 3],
  ["0.33334", 1 / 3],
  ["0.6667", 2 / 3],
  ["0.333", 0.333],
  ["0.667", 0.667],
];
for (const [text, x] of coordinateRows)
  test(`coordinate ${text}`, () => assert.ok(Math.abs(parseOne(cif([`Na1 ${text} 0 0`])).fracCoords[0] - x) < 1e-12));

const OPERATORS = (tag: string, ...operators: string[]) => ({ extra: ["loop_", tag, ...operators].join("\n") });
const FACE_CENTRED = ["x,y,z", "x,y+1/2,z+1/2", "x+1/2,y,z+1/2", "x+1/2,y+1/2,z"];
const atomRows: [name: string, text: string, atoms: number, note?: RegExp][] = [
  ["no symmetry at all is P1", cif(["Na1 0 0 0"]), 1],
  ["old operator tag", cif(["Na1 0 0 0"], OPERATORS("_symmetry_equiv_pos_as_xyz", ...FACE_CENTRED)), 4],
  ["new operator tag", cif(["Na1 0 0 0"], OPERATORS("_space_group_symop_operation_xyz", ...FACE_CENTRED)), 4],
  ["dotted operator tag", cif(["Na1 0 0 0"], OPERATORS("_space_group_symop.operation_xyz", ...FACE_CENTRED)), 4],
  [
    "magnetic operators and centrings",
    cif(["Na1 0 0 0.1"], {
      extra: [
        "loop_\n_space_group_symop_magn_operation.xyz\nx,y,z,+1\n-x,-y,-z,-1",
        "loop_\n_space_group_symop_magn_centering.xyz\nx,y,z,+1\nx+1/2,y+1/2,z+1/2,-1",
      ].join("\n"),
    }),
    4,
  ],
  [
    "operators win over the symbol",
    cif(["Na1 0 0 0"], { extra: "_symmetry_equiv_pos_as_xyz x,y,z\n_symmetry_space_group_name_H-M 'F m -3 m'" }),
    1,
  ],
  [
    "an unknown operator leaves the symbol",
    cif(["Na1 0 0 0"], { extra: "_symmetry_equiv_pos_as_xyz ?\n_symmetry_space_group_name_H-M 'F m -3 m'" }),
    4,
  ],
  ["Hall symbol", cif(["Na1 0 0 0"], { extra: "_space_group_name_Hall '-F 4 2 3'" }), 4],
  ["number", cif(["Na1 0 0 0"], { extra: "_space_group_IT_number 225" }), 4],
  [
    "unknown number is none, and P 1 a guess",
    cif(["Na1 0 0 0"], { extra: "_space_group_IT_number ?" }),
    1,
    /^no symmetry operators and no space group given: assumed P 1/,
  ],
  ["modulation in no dimension", cif(["Na1 0 0 0"], { extra: "_cell_modulation_dimension 0" }), 1],
  [
    "origin assumed",
    cif(["C1 0.125 0.125 0.125"], { extra: "_space_group_name_H-M_alt 'F d -3 m'" }),
    8,
    /assumed F 41\/d -3 2\/m \(227:2\)/,
  ],
  ["dummy atoms", cif(["Na1 0 0 0 d", "X1 0.1 0.1 0.1 dum"], { columns: "calc_flag" }), 1, /X1: dummy atom, left out/],
  ["occupancy ? and . and missing are 1", cif(["Na1 0 0 0 ?", "Cl1 .5 .5 .5 ."], { columns: "occupancy" }), 2],
  ["occupancy with uncertainty", cif(["Na1 0 0 0 1.000(3)"], { columns: "occupancy" }), 1],
  ["disorder group 0", cif(["Na1 0 0 0 0"], { columns: "disorder_group" }), 1],
  [
    "rounded special position",
    cif(["Na1 0.001 0 0"], OPERATORS("_symmetry_equiv_pos_as_xyz", "x,y,z", "-x,-y,-z")),
    1,
    /Na1: moved up to 0\.0056 Å onto a special position/,
  ],
  ["byte order mark, CR line ends, tabs", `\ufeff${cif(["Na1\t0\t0 0"]).replaceAll("\n", "\r")}`, 1],
];
for (const [name, text, atoms, note] of atomRows)
  test(`structure: ${name}`, () => {
    const structure = parseOne(text);
    assert.is(structure.numbers.length, atoms);
    if (note) assert.match(structure.notes?.join() ?? "", note);
    else assert.is(structure.notes, undefined);
  });

const errorRows: [name: string, text: string, code: ErrorCode, message: RegExp][] = [
  ["empty", "", "CORRUPT", /empty text/],
  ["comments only", "# nothing", "CORRUPT", /found no data_ block at all/],
  ["a journal block only", "data_global\n_journal_year 1999", "CORRUPT", /found only data_global/],
  [
    "no cell angle",
    cif(["Na1 0 0 0"]).replace("_cell_angle_beta 90.", ""),
    "CORRUPT",
    /^data_x \(line 1\): no lattice: _cell_angle_beta/,
  ],
  [
    "cell length not a number",
    cif(["Na1 0 0 0"]).replace("5.64(2)", "5,64"),
    "CORRUPT",
    /line 2: expected a number for _cell_length_a, found "5,64"/,
  ],
  [
    "unknown coordinate",
    cif(["Na1 0 ? 0"]),
    "CORRUPT",
    /line 13: expected a number for fractional y of site Na1, found "\?"/,
  ],
  ["infinite coordinate", cif(["Na1 0 1e999 0"]), "CORRUPT", /found "1e999"/],
  ["unknown element", cif(["Na1 0 0 0", "Qq1 0 0 .5"]), "CORRUPT", /line 14: site Qq1: "Qq1" names no element/],
  ["a vacancy is not vanadium", cif(["Vac1 0 0 0"]), "CORRUPT", /"Vac1" names no element/],
  [
    "modulated, by its operators",
    cif(["Na1 0 0 0"], OPERATORS("_space_group_symop_ssg_operation_algebraic", "x1,x2,x3,x4", "-x1,-x2,-x3,-x4")),
    "UNSUPPORTED",
    /modulated structure/,
  ],
  [
    "modulated, by its dimension",
    cif(["Na1 0 0 0"], { extra: "_cell_modulation_dimension 1" }),
    "UNSUPPORTED",
    /line 8: modulated structure/,
  ],
  ["a tetrahedral site is not tritium", cif(["T1 0 0 0"]), "CORRUPT", /"T1" names no element/],
  [
    "a vacancy",
    cif(["Na1 0 0 0 0.9", "Cl1 0 0 .5 1"], { columns: "occupancy" }),
    "UNSUPPORTED",
    /^data_x.*disordered structure: Na1 \(occupancy 0\.9\)/,
  ],
  [
    "occupancy not a number",
    cif(["Na1 0 0 0 full"], { columns: "occupancy" }),
    "CORRUPT",
    /line 14: occupancy of site Na1 is "full"/,
  ],
  ["a disorder group", cif(["Na1 0 0 0 2"], { columns: "disorder_group" }), "UNSUPPORTED", /Na1 \(disorder group 2\)/],
  [
    "an atom listed twice",
    cif(["Na1 0 0 0", "Na2 1 0 0"]),
    "CORRUPT",
    /sites Na1 \(line 13\) and Na2 \(line 14\) overlap/,
  ],
  [
    "an image listed again",
    cif(["Na1 0.1 0 0", "Na2 -0.1 0 0"], OPERATORS("_symmetry_equiv_pos_as_xyz", "x,y,z", "-x,-y,-z")),
    "CORRUPT",
    /sites Na1 \(line 17\) and Na2 \(line 18\) overlap/,
  ],
  ["Cartesian only", cif(["Na1 0 0 0"]).replaceAll("fract", "Cartn"), "UNSUPPORTED", /Cartesian coordinates only/],
  ["no z", cif(["Na1 0 0 0"]).replaceAll("fract_z", "U_iso"), "CORRUPT", /found not all three/],
  [
    "columns of unequal length",
    cif(["Na1 0 0 0"], { extra: "loop_ _atom_site_occupancy 1 1" }),
    "CORRUPT",
    /occupancy has 2 values/,
  ],
  [
    "bad operator",
    cif(["Na1 0 0 0"], OPERATORS("_symmetry_equiv_pos_as_xyz", "x,y,z", "x,y,q")),
    "CORRUPT",
    /line 11: expected a symmetry operator/,
  ],
  [
    "operators cut short",
    cif(["Na1 0 0 0"], OPERATORS("_symmetry_equiv_pos_as_xyz", "x,y,z", "-y,x,z")),
    "MISMATCH",
    /not a group/,
  ],
  [
    "hexagonal operators on a cube",
    cif(["Na1 0 0 0"], OPERATORS("_symmetry_equiv_pos_as_xyz", "x,y,z", "-y,x-y,z", "-x+y,-x,z")),
    "MISMATCH",
    /"-y,x-y,z" does not map the cell onto itself/,
  ],
  [
    "unknown symbol",
    cif(["Na1 0 0 0"], { extra: "_symmetry_space_group_name_H-M 'P q'" }),
    "CORRUPT",
    /"P q" is not in International Tables/,
  ],
  ["number beyond 230", cif(["Na1 0 0 0"], { extra: "_space_group_IT_number 231" }), "CORRUPT", /number 231/],
  ["bad Hall symbol", cif(["Na1 0 0 0"], { extra: "_space_group_name_Hall 'P 9'" }), "CORRUPT", /Hall symbol "P 9"/],
];
for (const [name, text, code, message] of errorRows)
  test(`error: ${name}`, () => {
    const results = [...parseAll(text, { format: "cif" })];
    assert.is(results.length, 1);
    assert.ok(isUnitcellError(results[0], code), `${results[0]}`);
    assert.match((results[0] as UnitcellError).message, message);
  });

test("blocks: those without a structure are passed over, each other one is a result", () => {
  const good = cif(["Na1 0 0 0"]);
  const bad = cif(["Na1 0 0 ?"]).replace("data_x", "data_bad");
  const text = ["data_global\n_journal_year 1999", good, bad, good.replace("data_x", "data_y")].join("\n");
  const results = [...parseAll(text, { filename: "a/b/many.cif" })];
  assert.is(results.length, 3);
  assert.is((results[0] as Structure).id, "many");
  assert.match((results[1] as UnitcellError).message, /^data_bad \(line 16\): line 28:/);
  assert.is((results[2] as Structure).id, "many#3");
});

test("a file of 5000 atoms takes well under a second", () => {
  const sites = Array.from(
    { length: 5000 },
    (_, i) => `C${i} ${(i % 20) / 20} ${(Math.floor(i / 20) % 20) / 20} ${Math.floor(i / 400) / 13}`,
  );
  const text = cif(sites).replaceAll(" 5.64", " 60");
  const start = performance.now();
  assert.is(parseOne(text).numbers.length, 5000);
  assert.ok(performance.now() - start < 1000);
});

fuzz("cif", "cif", [
  cif(["Na1 0 0 0 Na1+ 1", "Cl1 0.3333 0.6667 0.5 Cl- ."], {
    columns: "type_symbol occupancy",
    ...OPERATORS("_symmetry_equiv_pos_as_xyz", "'x, y, z'", "-x,-y,-z", "x,y,-z", "-x,-y,z"),
  }),
  `${cif(["Si1 0 0 0"], { extra: "_symmetry_space_group_name_H-M 'F d -3 m :1'\n_publ_title\n;\n text\n;" })}\n${cif(["C1 0.1 0.2 0.3"])}`,
  cif(["Fe1 0 0 0"], { extra: "_space_group_name_Hall '-P 4 2 3 (0 0 1)'" }),
]);

test.run();
