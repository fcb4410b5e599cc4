/**
 * Keeps the page's own files, so that it opens without a network. Those of one build are kept together, under its hash, and
 * used until no tab is open with them: files of two builds are never mixed.
 */

/** Put in by the build: a hash of the files, and their paths beside this one. */
declare const BUILD: { readonly hash: string; readonly files: readonly string[] };

interface WaitingEvent extends Event {
  waitUntil(end: Promise<unknown>): void;
}

interface FetchEvent extends Event {
  readonly request: Request;
  respondWith(answer: Promise<Response>): void;
}

interface ServiceWorkerScope {
  readonly registration: { readonly scope: string };
  readonly clients: { claim(): Promise<void> };
  addEventListener(type: "install" | "activate", listener: (event: WaitingEvent) => void): void;
  addEventListener(type: "fetch", listener: (event: FetchEvent) => void): void;
}

const worker = globalThis as unknown as ServiceWorkerScope;
/** Other pages may share the origin. */
const OURS = `unitcell page ${worker.registration.scope} `;
const CACHE = OURS + BUILD.hash;

worker.addEventListener("install", (event) => event.waitUntil(keep()));
worker.addEventListener("activate", (event) => event.waitUntil(dropOlder().then(() => worker.clients.claim())));
worker.addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(answer(event.request));
});

/** Asks the server of each whether what the browser has is still it: a copy may be of an earlier build. */
async function keep(): Promise<void> {
  const cache = await caches.open(CACHE);
  await cache.addAll(BUILD.files.map((path) => new Request(path, { cache: "no-cache" })));
}

async function dropOlder(): Promise<void> {
  const older = (await caches.keys()).filter((name) => name.startsWith(OURS) && name !== CACHE);
  await Promise.all(older.map((name) => caches.delete(name)));
}

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  // The page has one copy, by its folder: hosts answer for index.html with a redirection, which no page can be made of.
  const { href } = new URL(request.url);
  const key = href.replace(/[?#].*$/, "").replace(/\/index\.html$/, "/");
  return (await cache.match(key)) ?? fetch(request);
}
