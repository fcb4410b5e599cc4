/**
 * Keeps the page's own files, so that it opens without a network. Those of one build are kept together, each checked by its
 * hash, and used until no tab is open with them: files of two builds are never mixed.
 */

/** Put in by the build: a hash of all files, and the SHA-256 of each in hex by its path beside this one. */
declare const BUILD: { readonly hash: string; readonly files: Readonly<Record<string, string>> };

interface LastingEvent extends Event {
  waitUntil(end: Promise<unknown>): void;
}

interface FetchEvent extends Event {
  readonly request: Request;
  respondWith(answer: Promise<Response>): void;
}

interface ServiceWorkerScope {
  readonly registration: { readonly scope: string };
  readonly clients: { claim(): Promise<void> };
  addEventListener(type: "install" | "activate", listener: (event: LastingEvent) => void): void;
  addEventListener(type: "fetch", listener: (event: FetchEvent) => void): void;
  addEventListener(type: "message", listener: (event: LastingEvent & MessageEvent) => void): void;
}

const worker = globalThis as unknown as ServiceWorkerScope;
/** Other pages may share the origin. */
const OURS = `unitcell page ${worker.registration.scope} `;
const CACHE = OURS + BUILD.hash;

worker.addEventListener("install", (event) => event.waitUntil(install()));
worker.addEventListener("activate", (event) => event.waitUntil(dropOlder().then(() => worker.clients.claim())));
worker.addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(answer(event.request));
});
/** The page asks whether all is kept, and is told what is not: null, or a text. */
worker.addEventListener("message", (event) => {
  const told = keep().then(() => null, String);
  event.waitUntil(told.then((problem) => event.ports[0].postMessage(problem)));
});

async function install(): Promise<void> {
  try {
    await keep();
  } catch (error) {
    await caches.delete(CACHE);
    throw error;
  }
}

/** Fetches what is not kept yet. @throws {Error} naming a file that cannot be had, or is of another build */
async function keep(): Promise<void> {
  const cache = await caches.open(CACHE);
  const keepFile = async ([path, hash]: [string, string]) => {
    const key = keyOf(path);
    if (await cache.match(key)) return;
    // A copy that the browser has may be of an earlier build: the server is asked whether it still is right.
    const response = await fetch(path, { cache: "no-cache" });
    if (!response.ok) throw new Error(`${path}: ${response.status}`);
    const bytes = await response.arrayBuffer();
    if ((await sha256(bytes)) !== hash) throw new Error(`${path} is of another build`);
    // Made anew: what came by a redirection can be no page.
    await cache.put(key, new Response(bytes, { headers: plainHeaders(response) }));
  };
  await Promise.all(Object.entries(BUILD.files).map(keepFile));
}

/** The server's, but for those of how the bytes came. */
function plainHeaders({ headers }: Response): Headers {
  const plain = new Headers(headers);
  for (const name of ["content-encoding", "content-length", "vary"]) plain.delete(name);
  return plain;
}

async function sha256(bytes: ArrayBuffer): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function dropOlder(): Promise<void> {
  const older = (await caches.keys()).filter((name) => name.startsWith(OURS) && name !== CACHE);
  await Promise.all(older.map((name) => caches.delete(name)));
}

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  return (await cache.match(keyOf(request.url))) ?? fetch(request);
}

/** The page has one copy, by its folder. */
function keyOf(path: string): string {
  const { origin, pathname } = new URL(path, worker.registration.scope);
  return origin + pathname.replace(/\/index\.html$/, "/");
}
