/** The page itself without a network: a service worker keeps its files, where the browser has one. */

const KEPT = "The browser keeps this page: it opens without a network, too.";

/** Says how the page stands now; not what the browser does with files that are opened. */
export async function keepPage(): Promise<string> {
  const workers = navigator.serviceWorker as ServiceWorkerContainer | undefined;
  if (!workers) return "This browser does not keep the page itself: to use it without a network, leave it open.";
  try {
    const registration = await workers.register("service-worker.js");
    if (!registration.active) {
      await reached(registration.installing ?? registration.waiting!, "activated");
      return KEPT;
    }
    const newer = await newerOf(registration);
    // One that cannot be had leaves this one as it is.
    const isHere =
      newer &&
      (await reached(newer, "installed").then(
        () => true,
        () => false,
      ));
    return isHere ? "A newer build of this page is here, and comes once all its tabs are closed." : KEPT;
  } catch (error) {
    return `The browser could not keep the page itself (${error}): to use it without a network, leave it open.`;
  }
}

/** A newer build that waits or comes in; none where there is no network to ask. */
async function newerOf(registration: ServiceWorkerRegistration): Promise<ServiceWorker | null> {
  await registration.update().catch(() => undefined);
  return registration.installing ?? registration.waiting;
}

/** In the order in which a worker goes through them. */
const STATES: readonly ServiceWorkerState[] = ["installing", "installed", "activating", "activated"];

/** @throws {Error} where it could not get all its files */
function reached(worker: ServiceWorker, state: ServiceWorkerState): Promise<void> {
  return new Promise((resolve, reject) => {
    const look = () => {
      if (worker.state === "redundant") reject(new Error("not all its files could be had"));
      else if (STATES.indexOf(worker.state) >= STATES.indexOf(state)) resolve();
    };
    worker.addEventListener("statechange", look);
    look();
  });
}
