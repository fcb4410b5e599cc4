/** The page's end of the worker: calls with answers, and what it tells by itself. */
import type { Answer, Calls, Problem, Request, Told } from "./messages.js";

/** An error that the worker answered with. */
export class CallError extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(`${problem.code}: ${problem.message}`);
    this.name = "CallError";
    this.problem = problem;
  }
}

export interface WorkerClient {
  call<K extends keyof Calls>(name: K, ...values: Parameters<Calls[K]>): Promise<ReturnType<Calls[K]>>;
}

/**
 * Starts the worker. Its script is fetched and started from a blob, because a worker made so is bound by the page's content
 * security policy, and one started from an address only by headers, which a folder of static files does not have.
 * @param onFailure the worker itself is broken: no answer will come any more
 */
export async function startWorker(
  onTold: (told: Told) => void,
  onFailure: (message: string) => void,
): Promise<WorkerClient> {
  const answer = await fetch("worker.js");
  if (!answer.ok) throw new Error(`worker.js: ${answer.status} ${answer.statusText}`);
  const script = new Blob([await answer.text()], { type: "text/javascript" });
  const worker = new Worker(URL.createObjectURL(script), { type: "module" });
  const waiting = new Map<number, { resolve: (value: never) => void; reject: (error: CallError) => void }>();
  let last = 0;
  worker.onmessage = ({ data }: MessageEvent<Answer>) => {
    if ("told" in data) return onTold(data.told);
    const { resolve, reject } = waiting.get(data.call)!;
    waiting.delete(data.call);
    if ("problem" in data) reject(new CallError(data.problem));
    else resolve(data.value as never);
  };
  worker.onerror = ({ message }) => onFailure(message);
  return {
    call: (name, ...values) =>
      new Promise((resolve, reject) => {
        const request: Request = { call: ++last, name, values };
        waiting.set(request.call, { resolve, reject });
        worker.postMessage(request);
      }),
  };
}
