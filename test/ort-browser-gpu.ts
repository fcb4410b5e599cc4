/** What a page's GPU devices hold and do, counted at their own methods, and hooks to disturb them. */

export interface GpuCounts {
  /** Asked for so far. */
  devices: number;
  /** Bytes and number of buffers that nobody destroyed, of devices that live. */
  bytes: number;
  buffers: number;
  /** Bytes and number of such buffers when their device was destroyed, of all devices. */
  leftBytes: number;
  leftBuffers: number;
  /** Compiled so far. */
  pipelines: number;
  submits: number;
  /** Bytes sent to a GPU so far. */
  uploaded: number;
}

export interface GpuLedger {
  readonly counts: GpuCounts;
  /** The one asked for last. */
  device?: GPUDevice | undefined;
  /** Called after each. */
  onSubmit?: (() => void) | undefined;
  onCreateBuffer?: (() => void) | undefined;
}

/** Counts all devices of this page or worker from now on. */
export function countGpu(): GpuLedger {
  const counts: GpuCounts = {
    devices: 0,
    bytes: 0,
    buffers: 0,
    leftBytes: 0,
    leftBuffers: 0,
    pipelines: 0,
    submits: 0,
    uploaded: 0,
  };
  const ledger: GpuLedger = { counts };
  const { prototype } = GPUAdapter;
  const request = prototype.requestDevice;
  prototype.requestDevice = async function (descriptor) {
    const device = await request.call(this, descriptor);
    counts.devices++;
    ledger.device = device;
    countDevice(device, ledger);
    return device;
  };
  return ledger;
}

function countDevice(device: GPUDevice, ledger: GpuLedger): void {
  const { counts } = ledger;
  const live = new Map<GPUBuffer, number>();
  const drop = (buffer: GPUBuffer) => {
    const size = live.get(buffer);
    if (size === undefined) return;
    live.delete(buffer);
    counts.bytes -= size;
    counts.buffers--;
  };
  const dropAll = () => {
    for (const buffer of [...live.keys()]) drop(buffer);
  };
  const { createBuffer, createComputePipeline, createComputePipelineAsync, destroy } = device;
  device.createBuffer = (descriptor) => {
    const buffer = createBuffer.call(device, descriptor);
    live.set(buffer, descriptor.size);
    counts.bytes += descriptor.size;
    counts.buffers++;
    if (descriptor.mappedAtCreation) counts.uploaded += descriptor.size;
    const end = buffer.destroy;
    buffer.destroy = () => {
      drop(buffer);
      return end.call(buffer);
    };
    ledger.onCreateBuffer?.();
    return buffer;
  };
  device.createComputePipeline = (descriptor) => {
    counts.pipelines++;
    return createComputePipeline.call(device, descriptor);
  };
  device.createComputePipelineAsync = (descriptor) => {
    counts.pipelines++;
    return createComputePipelineAsync.call(device, descriptor);
  };
  device.destroy = () => {
    for (const size of live.values()) counts.leftBytes += size;
    counts.leftBuffers += live.size;
    dropAll();
    return destroy.call(device);
  };
  device.lost.then(dropAll);
  const { queue } = device;
  const { submit, writeBuffer } = queue;
  queue.submit = (commands) => {
    submit.call(queue, commands);
    counts.submits++;
    ledger.onSubmit?.();
  };
  queue.writeBuffer = (buffer, offset, data, from, size) => {
    counts.uploaded += size ?? data.byteLength;
    writeBuffer.call(queue, buffer, offset, data, from, size);
  };
}
