/** The GPU that this thread may use: WebGPU's adapter and device. */
import { UnitcellError } from "../errors.js";

export interface Gpu {
  readonly device: GPUDevice;
  /** "nvidia ampere", or what else the browser tells of it. */
  readonly description: string;
  /** When and why it is gone; never rejects. Not resolved by `destroy`. */
  readonly lost: Promise<string>;
  /** Give its memory back. */
  destroy(): void;
}

/** What onnxruntime's kernels use if it is there. */
const FEATURES = ["shader-f16", "subgroups", "timestamp-query"] as const;

/** Limits that a GPU often exceeds and that a device has only when asked. */
const LIMITS = [
  "maxStorageBufferBindingSize",
  "maxBufferSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ",
  "maxComputeWorkgroupsPerDimension",
] as const;

/** Whether this thread has WebGPU at all; there may be no GPU behind it. */
export function haveWebGpu(): boolean {
  return typeof navigator !== "undefined" && "gpu" in navigator && navigator.gpu != null;
}

function refused(cause: Error): never {
  throw new UnitcellError("BACKEND", `the GPU cannot be opened: ${cause.message}`, {}, { cause });
}

/** null where there is no GPU. @throws {UnitcellError} BACKEND where one cannot be asked for */
export async function findAdapter(): Promise<GPUAdapter | null> {
  return haveWebGpu()
    ? await navigator.gpu.requestAdapter({ powerPreference: "high-performance" }).catch(refused)
    : null;
}

/** @throws {UnitcellError} BACKEND where there is none, or it is not given */
export async function openGpu(): Promise<Gpu> {
  const adapter = await findAdapter();
  if (!adapter) throw new UnitcellError("BACKEND", "there is no GPU: WebGPU gives no adapter here");
  const device = await adapter
    .requestDevice({
      requiredFeatures: FEATURES.filter((feature) => adapter.features.has(feature)),
      requiredLimits: Object.fromEntries(LIMITS.map((limit) => [limit, adapter.limits[limit]])),
    })
    .catch(refused);
  mapAnyway(device);
  let destroyed = false;
  const lost = new Promise<string>((resolve) => {
    device.lost.then(({ reason, message }) => {
      if (!destroyed) resolve(message || reason);
    });
  });
  return {
    device,
    description: describe(adapter.info ?? {}), // browsers of 2023 have none
    lost,
    destroy: () => {
      destroyed = true;
      device.destroy();
    },
  };
}

function describe({ vendor, architecture, device, description }: Partial<GPUAdapterInfo>): string {
  return description || [vendor, architecture, device].filter(Boolean).join(" ") || "unnamed GPU";
}

/**
 * A device whose process has ended throws where a buffer is to be mapped from the beginning. onnxruntime-web 1.30 uploads
 * weights so, and when that throws no module's session can be created on any GPU any more. Here such a buffer is mapped to
 * memory that goes nowhere; the loss is told by `lost`, and by the first run.
 */
function mapAnyway(device: GPUDevice): void {
  const create = device.createBuffer.bind(device);
  device.createBuffer = (descriptor) => {
    try {
      return create(descriptor);
    } catch (error) {
      if (!descriptor.mappedAtCreation) throw error;
      const buffer = create({ ...descriptor, mappedAtCreation: false });
      const memory = new ArrayBuffer(descriptor.size);
      buffer.getMappedRange = () => memory;
      buffer.unmap = () => undefined;
      return buffer;
    }
  };
}
