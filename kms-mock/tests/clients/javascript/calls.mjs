// The AWS SDK for JavaScript as a program: one call a line on standard input,
// one answer a line on standard output, both JSON. `../python/javascript.py` is
// at the other end.
//
// In:  {"service", "operation", "input", "config"}; {"$bytes": base64} is a blob.
// Out: {"output"}, or {"error": {"code", "message"}}; blobs are base64.

import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

const require = createRequire(join(process.cwd(), "package.json"));
const packages = {
  iam: "@aws-sdk/client-iam",
  kms: "@aws-sdk/client-kms",
  s3: "@aws-sdk/client-s3",
  sts: "@aws-sdk/client-sts",
};
const clients = new Map();

function client(service, config) {
  const name = JSON.stringify([service, config]);
  if (!clients.has(name)) {
    const sdk = require(packages[service]);
    const Client = sdk[`${service.toUpperCase()}Client`];
    const more = service === "s3" ? { forcePathStyle: true } : {};
    clients.set(name, new Client({ ...more, ...config }));
  }
  return clients.get(name);
}

async function answer({ service, operation, input, config }) {
  const Command = require(packages[service])[`${operation}Command`];
  const { $metadata, ...output } = await client(service, config).send(new Command(input));
  if (output.Body !== undefined) {
    output.Body = await output.Body.transformToByteArray();
  }
  return { output };
}

const revive = (_, value) =>
  value !== null && typeof value === "object" && "$bytes" in value
    ? new Uint8Array(Buffer.from(value.$bytes, "base64"))
    : value;

const write = (_, value) =>
  value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value;

// A Buffer would turn itself into something else before `write` sees it.
delete Buffer.prototype.toJSON;

for await (const line of createInterface({ input: process.stdin })) {
  let result;
  try {
    result = await answer(JSON.parse(line, revive));
  } catch (error) {
    result = { error: { code: error.name, message: error.message ?? "" } };
  }
  process.stdout.write(`${JSON.stringify(result, write)}\n`);
}
