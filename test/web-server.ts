/** Web servers for tests: one that sends ranges as it should, and what else a test makes of it. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export type Handler = (request: IncomingMessage, response: ServerResponse, count: number) => void;

export interface WebServer {
  /** "http://127.0.0.1:PORT", without a slash at its end. */
  readonly origin: string;
  readonly requests: readonly IncomingMessage[];
  stop(): void;
}

/** Starts a server; `count` is the number of earlier requests. */
export async function startServer(handler: Handler): Promise<WebServer> {
  const requests: IncomingMessage[] = [];
  const server: Server = createServer((request, response) => {
    handler(request, response, requests.length);
    requests.push(request);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

export interface RangeAnswer {
  readonly etag?: string;
  /** So many bytes of the body come, then the connection breaks. */
  readonly cutAfter?: number;
}

/** A range of a file, as a good server sends it over a bad line. */
export function sendRange(
  request: IncomingMessage,
  response: ServerResponse,
  file: Uint8Array,
  { etag = '"one"', cutAfter = Number.POSITIVE_INFINITY }: RangeAnswer = {},
): void {
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "")!.map(Number);
  if (first >= file.length) {
    response.writeHead(416, { "Content-Range": `bytes */${file.length}` }).end();
    return;
  }
  const end = Math.min(last + 1, file.length);
  response.writeHead(206, {
    "Content-Range": `bytes ${first}-${end - 1}/${file.length}`,
    "Content-Length": end - first,
    ETag: etag,
  });
  if (end - first <= cutAfter) {
    response.end(file.subarray(first, end));
    return;
  }
  response.flushHeaders();
  response.write(file.subarray(first, first + cutAfter), () => response.destroy());
}
