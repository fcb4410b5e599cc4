/** Whole modules: what `module.state_dict()` would give, from the objects a file describes. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isModule, moduleStateDict } from "../src/formats/module.js";
import { loadTorch } from "../src/formats/torch.js";
import { PythonObject, type TorchValue } from "../src/formats/values.js";
import { TORCH_DTYPES } from "../src/tensor.js";
import { fixtureBytes, fixtureJson, haveFixtures } from "./fixtures.js";
import { sha256 } from "./tagged.js";

function module(parts: Readonly<Record<string, Map<TorchValue, TorchValue>>>, type = "net.Net"): PythonObject {
  const made = new PythonObject(type, "newobj", []);
  made.state = new Map(Object.entries({ _parameters: new Map(), _modules: new Map(), ...parts }));
  return made;
}

test("module: nothing else is one", () => {
  const stateless = new PythonObject("net.Net", "newobj", []);
  for (const other of [null, 1, "net.Net", new Map(), [], stateless]) assert.not(isModule(other));
  assert.ok(isModule(module({})));
});

test("module: one that contains itself ends", () => {
  const children = new Map<TorchValue, TorchValue>();
  const loop = module({ _modules: children });
  children.set("self", loop);
  assert.is(moduleStateDict(loop).size, 0);
});

test("module: 100 000 levels deep", () => {
  let inner = module({});
  for (let i = 0; i < 100_000; i++) inner = module({ _modules: new Map([["m", inner]]) });
  assert.is(moduleStateDict(inner).size, 0);
});

if (haveFixtures("torch")) {
  interface GoodFile {
    format: string;
    module_state_dict?: [name: string, sha256: string][];
    tensors: { path: (string | { attr: string })[]; dtype: string; shape: number[]; sha256: string }[];
  }
  const { files } = fixtureJson<{ files: Record<string, GoodFile> }>("torch/manifest.json");
  const load = (name: string) => loadTorch(fixtureBytes(`torch/${name}`), { unknownClasses: "inert" });
  let modules = 0;
  for (const [name, { format, module_state_dict: expected, tensors }] of Object.entries(files)) {
    if (expected) modules++;
    if (expected)
      test(`module: ${name} gives what state_dict() gave, in its order`, async () => {
        const root = await load(name);
        const inner = root instanceof Map ? root.get("model") : root;
        assert.ok(isModule(inner));
        const found = [...moduleStateDict(inner)].map(([key, { data }]) => [key, sha256(data)]);
        assert.equal(found, expected);
      });
    if (format === "torchscript")
      test(`module: the tensors of ${name} by name`, async () => {
        const root = await load(name);
        assert.ok(isModule(root));
        const found = [...moduleStateDict(root)].map(([key, { dtype, shape, data }]) => [
          key,
          TORCH_DTYPES[dtype],
          [...shape],
          sha256(data),
        ]);
        const listed = tensors.map(({ path, dtype, shape, sha256 }) => [
          path.map((step) => (typeof step === "string" ? step : step.attr)).join("."),
          dtype,
          shape,
          sha256,
        ]);
        assert.equal(found, listed);
      });
  }
  test("module: three files", () => assert.is(modules, 3));
}

test.run();
