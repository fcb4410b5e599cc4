/** Predictions over HTTP for hosts that take a function of a Request: edge and serverless functions, Deno, Bun. */
import type { Ensemble } from "../ensemble.js";
import { type ErrorCode, UnitcellError } from "../errors.js";
import type { Model } from "../models/model.js";
import { type PredictOptions, predictStream } from "../predict.js";
import { type FailedPrediction, type Prediction, RECORD_SCHEMA } from "../prediction.js";
import { parseEach } from "../structures/parse.js";
import type { Structure } from "../structures/structure.js";
import { readText } from "./body.js";

/** Limits of a request, who may ask, and how structures are predicted. */
export interface HandlerOptions extends Pick<PredictOptions, "backend" | "lift" | "state" | "tieRange"> {
  /** Bytes of a request's body that are read, by default 1 MiB. */
  maxBodyBytes?: number;
  /** Atoms of a structure that is predicted, by default 1,000: a request's time and memory grow with them. */
  maxSites?: number;
  /**
   * Edges of a structure's graph, by default 2^18: only a rule without a limit of neighbours (MEGNet's) comes near, where
   * atoms are closer than in any crystal.
   */
  maxEdges?: number;
  /** The Access-Control-Allow-Origin of every answer: "*", or the one origin whose pages may ask. By default none may. */
  allowOrigin?: string;
}

/** A model or an ensemble, or what loads it. */
export type ModelSource = Model | Ensemble | (() => Promise<Model | Ensemble>);

const MAX_BODY_BYTES = 2 ** 20;
const MAX_SITES = 1000;
/** MEGNet's graph of 1,000 atoms as close as in diamond has 92,000 edges; a small network with 2^18 takes 0.3 s and 80 MB. */
const MAX_EDGES = 2 ** 18;

/** What a page of another origin may send: a body of any type. */
const PREFLIGHT = { "access-control-allow-methods": "POST", "access-control-allow-headers": "content-type" };

/** What the client can mend is 4xx. */
const STATUS: Readonly<Record<ErrorCode, number>> = {
  ARGUMENT: 400,
  CORRUPT: 400,
  UNSAFE: 400,
  LIMIT: 413,
  MISMATCH: 422,
  NOT_FOUND: 422,
  UNSUPPORTED: 422,
  BACKEND: 500,
};

/**
 * A `fetch` handler: POST the text of one structure (CIF, POSCAR, extended XYZ, JSON), its file's name in `?filename=`
 * where the content does not tell its format, and the answer is its prediction record as JSON. What goes wrong is a record
 * with `error` {code, message} in place of the prediction, under status 400 (an empty or damaged text, several structures),
 * 405 (not a POST), 413 (beyond a limit), 422 (text in no known format, a structure that the model cannot predict) or 500 (the
 * host cannot run it).
 * @param model or what loads it, called at the first request and again where it failed: many hosts allow no work before
 * @throws {UnitcellError} ARGUMENT for a limit that is no positive integer; errors of loading the model reject the answer
 */
export function predictionHandler(
  model: ModelSource,
  options: HandlerOptions = {},
): (request: Request) => Promise<Response> {
  const { maxBodyBytes = MAX_BODY_BYTES, maxSites = MAX_SITES, allowOrigin, ...others } = options;
  const predictOptions = { ...others, maxEdges: options.maxEdges ?? MAX_EDGES };
  for (const [name, limit] of Object.entries({ maxBodyBytes, maxSites, maxEdges: predictOptions.maxEdges }))
    if (!(Number.isInteger(limit) && limit > 0))
      throw new UnitcellError("ARGUMENT", `${name} must be a positive integer, found ${limit}`);
  const ready = typeof model === "function" ? onceLoaded(model) : async () => model;
  const cors: Record<string, string> = allowOrigin === undefined ? {} : { "access-control-allow-origin": allowOrigin };

  const answer = (status: number, record: Prediction | FailedPrediction, headers?: Record<string, string>) =>
    new Response(`${JSON.stringify(record)}\n`, {
      status,
      headers: { "content-type": "application/json; charset=utf-8", ...cors, ...headers },
    });

  return async (request) => {
    if (request.method === "OPTIONS" && allowOrigin !== undefined)
      return new Response(null, { status: 204, headers: { ...cors, ...PREFLIGHT } });
    if (request.method !== "POST") {
      const error = new UnitcellError("ARGUMENT", `expected a POST of a structure's text, found a ${request.method}`);
      return answer(405, failure(error), { allow: "POST" });
    }
    let structure: Structure;
    try {
      structure = onlyStructure(await readText(request, maxBodyBytes), nameIn(request));
      checkSites(structure, maxSites);
    } catch (error) {
      if (!(error instanceof UnitcellError)) throw error;
      return answer(STATUS[error.code], failure(error));
    }
    for await (const record of predictStream(await ready(), [structure], predictOptions))
      return answer("error" in record ? STATUS[record.error.code] : 200, record);
    throw new Error("a structure gave no record");
  };
}

/** One call for all requests that wait; one that fails is not kept. */
function onceLoaded(load: () => Promise<Model | Ensemble>): () => Promise<Model | Ensemble> {
  let loading: Promise<Model | Ensemble> | undefined;
  return () => {
    loading ??= (async () => load())().catch((error) => {
      loading = undefined;
      throw error;
    });
    return loading;
  };
}

function nameIn(request: Request): string | undefined {
  return new URL(request.url).searchParams.get("filename") ?? undefined;
}

/** @throws {UnitcellError} what the text's one structure gives, CORRUPT where it has several */
function onlyStructure(text: string, filename: string | undefined): Structure {
  if (text.trim() === "") throw new UnitcellError("CORRUPT", "expected a structure's text, the body is empty");
  const [first, second] = parseEach(text, { filename: filename ?? "structure" });
  if ("error" in first) throw first.error;
  if (second) throw new UnitcellError("CORRUPT", "expected one structure, the text has more; send one at a time");
  if (filename !== undefined) return first;
  const { id: _none, ...unnamed } = first;
  return unnamed;
}

function checkSites({ numbers: { length } }: Structure, limit: number): void {
  if (length > limit)
    throw new UnitcellError("LIMIT", `the structure has ${length} atoms, the limit is ${limit}`, {
      found: length,
      limit,
    });
}

function failure({ code, message }: UnitcellError): FailedPrediction {
  return { schema: RECORD_SCHEMA, error: { code, message } };
}
