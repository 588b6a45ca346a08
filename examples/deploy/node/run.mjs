// A bundle's ONNX file run by Node: node run.mjs BUNDLE INPUT [REPEATS]
//
// INPUT is a file of the first input's numbers as they lie in memory, of one example. Prints each output's name and
// numbers; with REPEATS also how many milliseconds the start and the median call took, and the memory that it took.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as ort from "onnxruntime-web";

const ARRAYS = {
  float32: Float32Array, float64: Float64Array, int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array, bool: Uint8Array,
};
const [folder, raw, repeats = "0"] = process.argv.slice(2);
const begin = performance.now();
const bundle = JSON.parse(await readFile(join(folder, "bundle.json"), "utf-8"));
const [name] = Object.keys(bundle.targets.onnx);
const [input] = bundle.signatures[name].inputs;

ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(await readFile(join(folder, bundle.targets.onnx[name].file)));
const bytes = await readFile(raw);
const numbers = new ARRAYS[input.dtype](bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
const shape = input.shape.map((size) => (typeof size === "string" ? 1 : size));
const feeds = { [input.name]: new ort.Tensor(input.dtype, numbers, shape) };
const outputs = await session.run(feeds);
const started = performance.now() - begin;
for (const [output, { data }] of Object.entries(outputs)) console.log(output, ...Array.from(data, (n) => Number(n).toPrecision(9)));

const times = [];
for (let i = 0; i < Number(repeats); i++) {
  const start = performance.now();
  await session.run(feeds);
  times.push(performance.now() - start);
}
if (times.length) {
  const median = times.sort((a, b) => a - b)[times.length >> 1];
  const kilobytes = (await readFile("/proc/self/status", "utf-8")).match(/VmHWM:\s*(\d+)/)[1]; // Linux
  console.error(JSON.stringify({ start: started, call: median, memory: kilobytes / 1024 }));
}
