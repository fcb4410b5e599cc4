/** Browsers, each with the page that the suite's server gives it: the package by an import map, no bundler. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findChromium, launchChromium } from "./chromium.js";
import { BOTH, type Found, INSTALLS, startProcess, versionOf } from "./runtime-host.js";
import type { Build } from "./runtime-suite.js";

export function chromium(): Found {
  const path = findChromium();
  if (!path) return { name: "Chromium", missing: `no Chromium (${INSTALLS})` };
  return {
    name: "Chromium",
    version: () => versionOf(path, "--version"),
    builds: BOTH,
    fuses: true,
    tooLarge: [],
    async start(_, base) {
      const browser = await launchChromium(path);
      const page = await browser.newPage();
      await page.goto(base);
      const ended = new Promise<never>((_resolve, reject) => {
        browser.on("disconnected", () => reject(new Error("it ended")));
        page.on("crash", () => reject(new Error("the page crashed")));
      });
      ended.catch(() => {});
      return { ended, stop: () => browser.close() };
    },
  };
}

/** A program's path by its name. */
function which(program: string): string | undefined {
  try {
    return execFileSync("sh", ["-c", `command -v ${program}`], { encoding: "utf8" }).trim();
  } catch {
    return undefined;
  }
}

const FIREFOX_PREFS: Readonly<Record<string, unknown>> = {
  "app.update.enabled": false,
  "browser.shell.checkDefaultBrowser": false,
  "browser.startup.homepage_override.mstone": "ignore",
  "datareporting.policy.dataSubmissionEnabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "services.settings.server": "data:,",
  "toolkit.telemetry.reportingpolicy.firstRun": false,
};

/** It is only to open a page, which needs no driver. */
export function firefox(): Found {
  const path = which("firefox-esr");
  if (!path) return { name: "Firefox", missing: `no Firefox ESR (${INSTALLS})` };
  return {
    name: "Firefox",
    version: () => versionOf(path, "--version"),
    builds: BOTH,
    fuses: true,
    tooLarge: [],
    async start({ folder }, base) {
      const profile = join(folder, "firefox");
      mkdirSync(profile, { recursive: true });
      const prefs = Object.entries(FIREFOX_PREFS).map(
        ([key, value]) => `user_pref("${key}", ${JSON.stringify(value)});`,
      );
      writeFileSync(join(profile, "user.js"), prefs.join("\n"));
      return startProcess([path, "--headless", "--no-remote", "--profile", profile, base], folder, {
        env: { HOME: profile },
      });
    },
  };
}

/** Debian's folders of libraries, by kind of processor. */
const LIBRARIES = readdirSync("/usr/lib").map((folder) => `/usr/lib/${folder}`);

/** Its window wants a display, and Xvfb is one. */
export function webkit(name: string, builds: readonly Build[], env: Readonly<Record<string, string>>): Found {
  const browser = LIBRARIES.map((folder) => `${folder}/webkit2gtk-4.1/MiniBrowser`).find(existsSync);
  const display = which("xvfb-run");
  if (!browser || !display) return { name, missing: `no MiniBrowser or no xvfb-run (${INSTALLS})` };
  return {
    name,
    version: () => versionOf(display, "-a", browser, "--version"),
    builds,
    fuses: false,
    tooLarge: [],
    async start({ folder }, base) {
      // Of C.UTF-8 it makes the language "C", which no formatter of numbers takes.
      const home = join(folder, name.replace(/\W+/g, "-"));
      mkdirSync(home, { recursive: true });
      return startProcess([display, "-a", browser, base], folder, {
        env: { ...env, LC_ALL: "C", HOME: home, XDG_RUNTIME_DIR: home, NO_AT_BRIDGE: "1", LIBGL_ALWAYS_SOFTWARE: "1" },
      });
    },
  };
}
