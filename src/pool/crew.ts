import { failure } from "../batches.js";
import { UnitcellError } from "../errors.js";
import { idFromFilename } from "../structures/parse.js";
import { LiveWorker, type Said } from "./live-worker.js";
import type { Item, Records, Request } from "./messages.js";
import type { SentModel } from "./sent-model.js";
import type { WorkerLike } from "./worker-like.js";

/** As a worker's, with the models themselves. */
export interface CrewRequest extends Omit<Request, "models"> {
  readonly models: readonly SentModel[];
}

/** What one call asks for: records of all its items, or an error. */
interface Task {
  readonly request: CrewRequest;
  /** By item; empty until they are there. */
  readonly records: Records[];
  left: number;
  /** Its call has had its answer, or wants none any more. */
  settled: boolean;
  readonly settle: (error?: unknown) => void;
}

/** Items of a task that go to a worker together. */
interface Job {
  readonly task: Task;
  /** Each item with its place in the task. */
  readonly items: readonly (readonly [place: number, item: Item])[];
  /** A worker ended over it. */
  readonly again: boolean;
}

interface Hand {
  readonly worker: LiveWorker;
  /** Posted and not answered, in the order in which it does them. */
  readonly jobs: Job[];
  /** Numbers of the models that it has. */
  readonly models: Set<number>;
  isReady: boolean;
}

/** One in work and one that lies ready, so that a worker never waits for a message. */
const JOBS_PER_WORKER = 2;

/** A worker that takes the place of another is tried to start so often; then the others do without. */
const STARTS = 3;

/**
 * Workers and the work that waits for them. Where a worker ends over its work another takes its place, and the items are
 * tried once more, each alone; over which a worker ends again gives an error record.
 */
export class Crew {
  readonly #make: () => WorkerLike;
  /** Workers wanted: fewer than at first where some could not be started again. */
  #wanted: number;
  /** Starts in a row that failed. */
  #failedStarts = 0;
  readonly #hands = new Set<Hand>();
  #waiting: Job[] = [];
  /** Requests that want no more, and why. */
  readonly #abandoned = new WeakMap<CrewRequest, unknown>();
  /** Why there can be no more work. */
  #over: UnitcellError | undefined;
  #started: (error?: UnitcellError) => void = () => {};

  private constructor(count: number, make: () => WorkerLike) {
    this.#wanted = count;
    this.#make = make;
  }

  /**
   * So many workers, ready for work.
   * @throws {UnitcellError} BACKEND when one cannot be started
   */
  static async start(count: number, make: () => WorkerLike): Promise<Crew> {
    const crew = new Crew(count, make);
    try {
      await new Promise<void>((resolve, reject) => {
        crew.#started = (error) => {
          if (error) reject(error);
          else if ([...crew.#hands].every(({ isReady }) => isReady)) resolve();
        };
        for (let i = 0; i < count; i++) crew.#hire();
      });
    } catch (error) {
      await crew.close();
      throw error;
    }
    crew.#started = () => {};
    return crew;
  }

  /** No request will name the model any more. */
  forgetModel(id: number): void {
    for (const { worker, models } of this.#hands) if (models.delete(id)) worker.post({ type: "forget", id });
  }

  /**
   * The records of each item.
   * @throws what `abandon` is given; {UnitcellError} BACKEND when no worker is left, ARGUMENT after close
   */
  run(request: CrewRequest, items: readonly Item[]): Promise<Records[]> {
    return new Promise((resolve, reject) => {
      if (this.#over) return reject(this.#over);
      if (this.#abandoned.has(request)) return reject(this.#abandoned.get(request));
      const records: Records[] = items.map(() => []);
      const settle = (error?: unknown) => {
        task.settled = true;
        if (error === undefined) resolve(records);
        else reject(error);
      };
      const task: Task = { request, records, left: items.length, settled: false, settle };
      this.#waiting.push({ task, items: [...items.entries()], again: false });
      this.#dispatch();
    });
  }

  /** What a request still waits for, and will ask for, is rejected; workers finish what they have of it. */
  abandon(request: CrewRequest, reason: unknown): void {
    this.#abandoned.set(request, reason);
    this.#reject((task) => task.request === request, reason);
  }

  async close(): Promise<void> {
    this.#giveUp(new UnitcellError("ARGUMENT", "the pool was closed"));
    const hands = [...this.#hands];
    this.#hands.clear();
    await Promise.all(hands.map(({ worker }) => worker.stop()));
  }

  #hire(): void {
    try {
      const worker = new LiveWorker(
        this.#make(),
        (message) => this.#hear(hand, message),
        (reason) => this.#lose(hand, reason),
      );
      const hand: Hand = { worker, jobs: [], models: new Set(), isReady: false };
      this.#hands.add(hand);
    } catch (error) {
      this.#notStarted(error instanceof Error ? error.message : String(error));
    }
  }

  #notStarted(reason: string): void {
    const error = new UnitcellError("BACKEND", `a worker could not be started: ${reason}`);
    if (++this.#failedStarts === STARTS) {
      this.#failedStarts = 0;
      this.#wanted--;
    }
    this.#started(error);
    if (this.#wanted === 0) this.#giveUp(error);
  }

  #giveUp(error: UnitcellError): void {
    this.#over ??= error;
    this.#reject(() => true, error);
  }

  #reject(isMeant: (task: Task) => boolean, error: unknown): void {
    const jobs = [...this.#waiting, ...[...this.#hands].flatMap((hand) => hand.jobs)];
    this.#waiting = this.#waiting.filter(({ task }) => !isMeant(task));
    for (const { task } of jobs) if (isMeant(task) && !task.settled) task.settle(error);
  }

  #hear(hand: Hand, message: Said): void {
    if (message.type === "ready") {
      hand.isReady = true;
      this.#failedStarts = 0;
      hand.worker.keepAlive(false);
      this.#started();
    } else {
      const job = hand.jobs.shift()!;
      for (const [i, [place]] of job.items.entries()) this.#answer(job.task, place, message.records[i]);
      if (hand.jobs.length === 0) hand.worker.keepAlive(false);
    }
    this.#dispatch();
  }

  #answer(task: Task, place: number, records: Records): void {
    if (task.settled) return;
    task.records[place] = records;
    if (--task.left === 0) task.settle();
  }

  /** Of its jobs the first was in work, the others had not begun. */
  #lose(hand: Hand, reason: string): void {
    this.#hands.delete(hand);
    if (!hand.isReady) this.#notStarted(reason);
    const [broken, ...untouched] = hand.jobs;
    this.#waiting.unshift(...untouched.filter(({ task }) => !task.settled));
    if (broken?.again)
      for (const [place, item] of broken.items) this.#answer(broken.task, place, [lostRecord(item, reason)]);
    else if (broken && !broken.task.settled)
      this.#waiting.unshift(...broken.items.map((one): Job => ({ task: broken.task, items: [one], again: true })));
    this.#dispatch();
  }

  #dispatch(): void {
    while (this.#waiting.length > 0 && this.#hands.size < this.#wanted) this.#hire();
    while (this.#waiting.length > 0) {
      const hand = this.#handFor(this.#waiting[0]);
      if (!hand) return;
      this.#post(hand, this.#waiting.shift()!);
    }
  }

  /**
   * One with the fewest jobs, and room for this. What is tried again has a worker to itself: the last answer of one that
   * ends may be lost, and so may be taken for unfinished what only went before.
   */
  #handFor({ again }: Job): Hand | undefined {
    const [hand] = [...this.#hands]
      .filter(({ isReady, jobs }) => isReady && !jobs.some((job) => job.again))
      .sort((a, b) => a.jobs.length - b.jobs.length);
    return hand && hand.jobs.length < (again ? 1 : JOBS_PER_WORKER) ? hand : undefined;
  }

  #post({ worker, jobs, models }: Hand, job: Job): void {
    const { ensemble, options, models: wanted } = job.task.request;
    try {
      for (const { id, model } of wanted)
        if (!models.has(id)) {
          worker.post({ type: "model", id, model });
          models.add(id);
        }
      const request: Request = { models: wanted.map(({ id }) => id), ensemble, options };
      worker.post({ type: "predict", request, items: job.items.map(([, item]) => item) });
    } catch (error) {
      job.task.settle(error); // what cannot be cloned
      return;
    }
    if (jobs.push(job) === 1) worker.keepAlive(true);
  }
}

function lostRecord(item: Item, reason: string): Records[number] {
  const message = `two workers ended over this structure, which the second had alone: ${reason}`;
  const filename = "text" in item ? item.filename : undefined;
  const id = "text" in item ? filename && idFromFilename(filename) : item.id;
  return failure(id === undefined ? {} : { id }, new UnitcellError("BACKEND", message));
}
