/** A `fetch` handler on Node's own server: PORT=8000 node node.mjs */
import { createServer } from "node:http";
import handler from "./handler.js";

async function answer(incoming) {
  const { method, headers, url } = incoming;
  // Left unread, a body must not take its connection, and with it the answer, away.
  const body = ["GET", "HEAD"].includes(method) ? null : incoming.iterator({ destroyOnReturn: false });
  return handler.fetch(new Request(`http://localhost${url}`, { method, headers, body, duplex: "half" }));
}

const server = createServer(async (incoming, outgoing) => {
  const response = await answer(incoming).catch((error) => {
    console.error(error);
    return new Response("internal error\n", { status: 500 });
  });
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  outgoing.end(await response.text());
  incoming.resume(); // past what was not read, to the next request
});
server.listen(Number(process.env.PORT ?? 8000), "127.0.0.1", () => {
  console.log(`Listening on http://127.0.0.1:${server.address().port}/`);
});
