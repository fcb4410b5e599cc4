/**
 * Lets messages in: a worker that computes hears of a cancellation, and of a click elsewhere, only between its tasks. A
 * channel and not a timer, which browsers delay by milliseconds when it is set again and again.
 */
const { port1, port2 } = new MessageChannel();
const waiting: (() => void)[] = [];
port1.onmessage = () => waiting.shift()?.();

export function pause(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    port2.postMessage(undefined);
  });
}
