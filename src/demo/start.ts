/** Starts the page; a browser that cannot run it is told so, in place of a page on which nothing happens. */
import("./demo.js").catch((error) => {
  document.querySelector("#status")!.textContent = `This browser cannot run the page: ${error}`;
});
