/** A full disk and a read-only one: real ones, of 1 MiB, that only the child sees (disk.child.ts). */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";

const UNSHARE = ["-Urm"];
const canMount = spawnSync("unshare", [...UNSHARE, "sh", "-c", "mount -t tmpfs tmpfs /mnt"]).status === 0;
if (!canMount) console.log("skipped: no `unshare -Urm` with mount here, and so no small disk");

const rows: [name: string, mode: string][] = [
  ["a full disk: what was saved loads, pruning makes room, saving goes on", "full"],
  ["a read-only disk: reading works, writing says why it cannot", "readonly"],
];

for (const [name, mode] of canMount ? rows : [])
  test(name, () => {
    const folder = mkdtempSync(join(tmpdir(), "unitcell-disk-"));
    const args = [...UNSHARE, process.execPath, "--enable-source-maps", "build/test/disk.child.js", mode, folder];
    const { status, stdout, stderr } = spawnSync("unshare", args, { encoding: "utf8", timeout: 60_000 });
    rmSync(folder, { recursive: true });
    assert.is(status, 0, `${stdout}${stderr}`);
    console.log(stdout.trimEnd());
  });

test.run();
