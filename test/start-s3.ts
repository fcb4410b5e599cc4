/** An S3 server for tests, which .ci/run installs. */
import { type ChildProcess, spawn } from "node:child_process";
import { AwsClient } from "aws4fetch";

export const S3RVER = "build/runtimes/node_modules/s3rver";
export const BUCKET = "models";

export interface S3Server {
  readonly process: ChildProcess;
  /** Address of the bucket. */
  readonly url: string;
}

export async function startS3(folder: string): Promise<S3Server> {
  const script = ["--openssl-legacy-provider", "test/s3-server.cjs", S3RVER, folder, BUCKET];
  const child = spawn(process.execPath, script, { stdio: ["pipe", "pipe", "inherit"] });
  const port = await new Promise<string>((resolve, reject) => {
    child.stdout!.once("data", (line) => resolve(String(line).trim()));
    child.once("exit", (code) => reject(new Error(`s3rver ended with ${code}`)));
  });
  return { process: child, url: `http://127.0.0.1:${port}/${BUCKET}` };
}

export const clientOf = (secretAccessKey: string) =>
  new AwsClient({ accessKeyId: "S3RVER", secretAccessKey, service: "s3", region: "us-east-1", retries: 0 });
