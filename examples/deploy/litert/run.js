// A drawn digit, read by LiteRT.js: what asks for the picture and shows the answer is the script of Phlox's pages.
import { Tensor, loadAndCompile, loadLiteRt } from "./litert.js";
import { failed, pictureField, say, show, typed } from "./page.js";

async function start() {
  const begin = performance.now();
  const bundle = await (await fetch("bundle.json")).json();
  const { file } = bundle.targets.litert.default;
  const [input] = bundle.signatures.default.inputs;
  const [output] = bundle.signatures.default.outputs;
  await loadLiteRt("./");
  const model = await loadAndCompile(file, { accelerator: "wasm" });

  async function run() {
    try {
      const [numbers, dims] = field.read();
      const start = performance.now();
      const tensor = new Tensor(typed(numbers, input), dims);
      const [result] = await model.run(tensor);
      const data = result.toTypedArray();
      tensor.delete();
      result.delete();
      const time = performance.now() - start;
      show({ [output.name]: { data, dims: output.shape, type: output.dtype } }, bundle.classes, true);
      say(`answered in ${time.toFixed(1)} ms`, "answered");
      document.getElementById("state").dataset.milliseconds = time;
    } catch (error) {
      failed(error);
    }
  }

  const field = pictureField(input, { axes: [1, 2], channels: 1 }, {}, run);
  const form = document.getElementById("drawing");
  form.append(field.element);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  document.getElementById("state").dataset.loaded = performance.now() - begin;
  say("ready", "ready");
}

start().catch(failed);
