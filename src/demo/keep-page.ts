/** The page itself without a network: a service worker keeps its files, where the browser has one. */

/** Says how the page stands now; not what the browser does with files that are opened. */
export async function keepPage(): Promise<string> {
  const workers = navigator.serviceWorker as ServiceWorkerContainer | undefined;
  if (!workers) return "This browser does not keep the page itself: to use it without a network, leave it open.";
  try {
    const registration = await workers.register("service-worker.js");
    const isFirst = !registration.active;
    if (isFirst) await reached(registration.installing ?? registration.waiting!, "activated");
    else if (await hasNewer(registration))
      return "A newer build of this page is here, and comes once all its tabs are closed.";
    const problem = await problemOf(registration.active!);
    if (problem !== null) throw problem;
    return "The browser keeps this page: it opens without a network, too.";
  } catch (error) {
    return `The browser could not keep the page itself (${error}): to use it without a network, leave it open.`;
  }
}

/** Whether a newer build has come whole; one that cannot be had leaves this one as it is, and so does no network. */
async function hasNewer(registration: ServiceWorkerRegistration): Promise<boolean> {
  await registration.update().catch(() => undefined);
  const newer = registration.installing ?? registration.waiting;
  return (
    newer !== null &&
    reached(newer, "installed")
      .then(() => true)
      .catch(() => false)
  );
}

/** In the order in which a worker goes through them. */
const STATES: readonly ServiceWorkerState[] = ["installing", "installed", "activating", "activated"];

/** @throws {Error} where it could not get all its files */
function reached(worker: ServiceWorker, state: ServiceWorkerState): Promise<void> {
  return new Promise((resolve, reject) => {
    const look = () => {
      if (worker.state === "redundant") reject(new Error("not all its files could be had, each of the same build"));
      else if (STATES.indexOf(worker.state) >= STATES.indexOf(state)) resolve();
    };
    worker.addEventListener("statechange", look);
    look();
  });
}

/** What keeps the worker from having all files: browsers may have dropped some. Null: nothing. */
function problemOf(worker: ServiceWorker): Promise<string | null> {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = ({ data }: MessageEvent<string | null>) => {
      port1.close();
      resolve(data);
    };
    worker.postMessage("keep", [port2]);
  });
}
