/** Starts the page, or says why it does not: a browser that cannot run it, or a host that has not all its files. */
import("./demo.js").catch((error) => {
  document.querySelector("#status")!.textContent = `The page could not be started: ${error}`;
});
