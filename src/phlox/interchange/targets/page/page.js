// A model as a page. bundle.json says what it takes, which is asked for; ONNX Runtime runs it here; its likeliest
// classes are shown. Everything lies in this folder.

const ARRAYS = {
  float32: Float32Array, float64: Float64Array, bool: Uint8Array,
  int8: Int8Array, int16: Int16Array, int32: Int32Array, int64: BigInt64Array,
  uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, uint64: BigUint64Array,
};
const SHOWN = 10; // classes, and numbers of another output
const DRAWN = 280; // pixels of the longer side of a canvas

// --- numbers ------------------------------------------------------------------------------------------------

/** Scores as shares of one: their softmax, or as they are where the model gives shares itself. */
export function sharesOf(scores, shares) {
  const sum = scores.reduce((a, b) => a + b, 0);
  const are = shares ?? (scores.every((s) => s >= 0 && s <= 1) && Math.abs(sum - 1) < 1e-3);
  if (are) return scores;
  const top = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = scores.map((s) => Math.exp(s - top));
  const all = powers.reduce((a, b) => a + b, 0);
  return powers.map((p) => p / all);
}

/** For each place of an axis that is resized, from which place on it reads, and how much of each: a triangle, as wide
    as the places that one place stands for where the axis shrinks. */
function readings(from, to) {
  const scale = from / to, reach = Math.max(scale, 1);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - reach + 0.5)), end = Math.min(from, Math.floor(centre + reach + 0.5));
    const part = (_, k) => Math.max(0, 1 - Math.abs(first + k + 0.5 - centre) / reach);
    const parts = Array.from({ length: end - first }, part);
    const sum = parts.reduce((a, b) => a + b, 0);
    return [first, parts.map((p) => p / sum)];
  });
}

/** A picture (height, width, channels) in other sizes, antialiased. */
export function resized(pixels, [height, width, channels], [toHeight, toWidth]) {
  const across = readings(width, toWidth), down = readings(height, toHeight);
  const narrow = new Float64Array(height * toWidth * channels);
  for (let y = 0; y < height; y++)
    across.forEach(([first, parts], x) => {
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        parts.forEach((part, k) => (sum += part * pixels[(y * width + first + k) * channels + c]));
        narrow[(y * toWidth + x) * channels + c] = sum;
      }
    });
  const row = toWidth * channels, made = new Float64Array(toHeight * row);
  down.forEach(([first, parts], y) => {
    parts.forEach((part, k) => {
      for (let x = 0; x < row; x++) made[y * row + x] += part * narrow[(first + k) * row + x];
    });
  });
  return made;
}

/** Red, green, blue and opacity as the channels that a model takes: 1 for grey, 3, or all 4. */
export function channelsOf(rgba, channels) {
  const count = rgba.length / 4, made = new Float64Array(count * channels);
  for (let i = 0; i < count; i++) {
    if (channels === 1) made[i] = 0.299 * rgba[4 * i] + 0.587 * rgba[4 * i + 1] + 0.114 * rgba[4 * i + 2];
    else for (let c = 0; c < channels; c++) made[i * channels + c] = rgba[4 * i + c];
  }
  return made;
}

/** The places of words in an encoder's table. */
export function placesOf(words, { table, unknown }) {
  const places = new Map(table.map((word, i) => [word, i]));
  return words.map((word) => {
    const place = places.get(word) ?? unknown;
    if (place === null || place === undefined) throw new Error(`the model does not know the word ${word}`);
    return place;
  });
}

/** Text as numbers, separated by spaces or commas. */
export function numbersOf(text) {
  return text.split(/[\s,;]+/).filter(Boolean).map((word) => {
    if (word === "true" || word === "false") return Number(word === "true");
    const number = Number(word);
    if (Number.isNaN(number)) throw new Error(`${word} is no number`);
    return number;
  });
}

/** The numbers as an array of the input's dtype; refused where that would change them. */
export function typed(numbers, input) {
  const kind = ARRAYS[input.dtype], whole = !input.dtype.startsWith("float");
  const outside = (n) => input.below != null && (n < 0 || n >= input.below);
  const odd = whole ? numbers.find((n) => !Number.isInteger(n) || outside(n)) : undefined;
  if (odd !== undefined) {
    const most = input.below == null ? "" : ` from 0 to ${input.below - 1}`;
    throw new Error(`${input.name} takes whole numbers${most}, not ${odd}`);
  }
  const made = kind === BigInt64Array || kind === BigUint64Array ? kind.from(numbers, BigInt) : kind.from(numbers);
  const changed = whole ? numbers.findIndex((n, i) => Number(made[i]) !== n) : -1;
  if (changed >= 0) throw new Error(`${input.name} is ${input.dtype}, which has no ${numbers[changed]}`);
  return made;
}

/** How large each axis is for so many numbers: one example, and the one other symbol that fits. */
export function sizesFor(input, count, bounds) {
  const [first, ...rest] = input.shape;
  const lead = typeof first === "string" ? [bounds[first]?.[0] ?? 1] : input.shape.length ? [first] : [];
  const known = [...lead, ...rest].filter((n) => typeof n === "number").reduce((a, b) => a * b, 1);
  const open = [...new Set(rest.filter((n) => typeof n === "string"))];
  const free = open.length ? count / known : 1;
  if (open.length > 1 || !Number.isInteger(free) || free < 1 || known * free !== count) {
    throw new Error(`${input.name} takes ${open.length ? `a multiple of ${known}` : known} numbers, not ${count}`);
  }
  const [low, high] = bounds[open[0]] ?? [1, Infinity];
  if (open.length && (free < low || free > high)) throw new Error(`${open[0]} is from ${low} to ${high}, not ${free}`);
  return [...lead, ...rest.map((n) => (typeof n === "string" ? free : n))];
}

/** The output that scores classes: of one example, a number for each. None where there is no such output. */
export function scoringOf(outputs, classes) {
  return Object.entries(outputs).find(([, { type, dims }]) => {
    const last = dims.at(-1) ?? 0;
    const one = dims.slice(0, -1).every((n) => n === 1);
    return type.startsWith("float") && one && (classes.length ? last === classes.length : last > 1);
  })?.[0];
}

// --- what is asked for ----------------------------------------------------------------------------------------

function made(tag, attributes = {}, ...inside) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...inside);
  return element;
}

/** The middle of a picture on a canvas, which has the form that is taken of it, width by height. */
function putMiddle(image, form, canvas, opaque) {
  const across = Math.min(image.width, image.height * form), down = across / form;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "white";
  if (opaque) pen.fillRect(0, 0, canvas.width, canvas.height);
  const from = [(image.width - across) / 2, (image.height - down) / 2, across, down];
  pen.drawImage(image, ...from, 0, 0, canvas.width, canvas.height);
}

/** Lines on a canvas where the mouse, a finger or a pen goes. */
function drawable(canvas, ink, began, ended) {
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  let last = null;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    return [x * canvas.width, y * canvas.height];
  };
  const line = (to) => {
    Object.assign(pen, { strokeStyle: ink, lineWidth: DRAWN / 12, lineCap: "round", lineJoin: "round" });
    pen.beginPath();
    pen.moveTo(...last);
    pen.lineTo(...to);
    pen.stroke();
    last = to;
  };
  const up = () => {
    if (last) ended();
    last = null;
  };
  canvas.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    began();
    canvas.setPointerCapture(event.pointerId);
    last = at(event);
    line(last);
  });
  canvas.addEventListener("pointermove", (event) => last && line(at(event)));
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
}

/** A canvas to draw on, or to put a picture on; `changed` is called where there is something new on it. */
export function pictureField(input, { axes, channels }, bounds, changed) {
  const [height, width] = axes.map((axis) => input.shape[axis]);
  const within = (n, natural) => Math.min(Math.max(natural, bounds[n]?.[0] ?? 1), bounds[n]?.[1] ?? Infinity);
  const size = (n, natural) => (typeof n === "number" ? n : within(n, natural));
  const free = height !== width && (typeof height === "string" || typeof width === "string");
  const form = free || height === width ? 1 : width / height;
  const canvas = made("canvas", {
    width: Math.round(DRAWN * Math.min(1, form)), height: Math.round(DRAWN / Math.max(1, form)), "data-input": input.name,
  });
  const [paper, ink] = channels === 1 ? ["black", "white"] : ["white", "black"];
  const inverted = made("input", { type: "checkbox" });
  const file = made("input", { type: "file", accept: "image/*" });
  let source = canvas; // what is read: the canvas, or a picture in its own size

  function clear() {
    source = canvas;
    file.value = "";
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.fillStyle = paper;
    pen.fillRect(0, 0, canvas.width, canvas.height);
  }

  async function put(picture) {
    const image = await createImageBitmap(picture);
    const shape = free ? image.width / image.height : form;
    const across = Math.min(image.width, image.height * shape);
    source = made("canvas", { width: Math.max(1, Math.round(across)), height: Math.max(1, Math.round(across / shape)) });
    putMiddle(image, shape, source, channels < 4);
    putMiddle(image, shape, canvas, true);
    changed();
  }

  function read() {
    const to = [size(height, source.height), size(width, height === width ? source.height : source.width)];
    const { data } = source.getContext("2d").getImageData(0, 0, source.width, source.height);
    const pixels = resized(channelsOf(data, channels), [source.height, source.width, channels], to);
    const levels = pixels.map((p, i) => (inverted.checked && i % channels !== 3 ? 255 - p : p));
    const numbers = input.dtype === "uint8" ? levels.map(Math.round) : levels.map((p) => p / 255);
    const other = (n) => (typeof n === "string" ? (bounds[n]?.[0] ?? 1) : n);
    return [numbers, input.shape.map((n, i) => (axes.includes(i) ? to[axes.indexOf(i)] : other(n)))];
  }

  drawable(canvas, ink, () => source !== canvas && clear(), changed);
  file.addEventListener("change", () => file.files[0] && put(file.files[0]).catch(failed));
  inverted.addEventListener("change", changed);
  const wipe = made("button", { type: "button" }, "clear");
  wipe.addEventListener("click", () => {
    clear();
    changed();
  });
  clear();
  const element = made("fieldset", {}, made("legend", {}, `${input.name}: draw, or choose a picture`), canvas,
    made("label", {}, wipe, file), made("label", {}, "dark and light exchanged", inverted));
  return { element, read };
}

/** A box for each number of a row, or a list of the words that there are. */
function rowField(input, labels, encoder, bounds) {
  const boxes = labels.map((label) => {
    const box = encoder
      ? made("select", {}, ...encoder.table.map((word) => made("option", {}, word)))
      : made("input", { type: "number", step: "any", value: "0" });
    return [made("label", {}, label, box), box];
  });
  const shown = boxes.map(([label]) => label);
  const element = made("fieldset", { "data-input": input.name }, made("legend", {}, input.name), ...shown);
  const read = () => {
    const values = boxes.map(([, box]) => box.value);
    const numbers = encoder ? placesOf(values, encoder) : numbersOf(values.map((v) => v || "0").join(" "));
    return [numbers, sizesFor(input, numbers.length, bounds)];
  };
  return { element, read };
}

/** Text: words that the bundle has numbers for, or the numbers themselves. */
function textField(input, encoder, bounds) {
  const hint = encoder ? "words, with spaces between them" : "numbers, with spaces between them";
  const box = made("textarea", { rows: 4, placeholder: hint, "data-input": input.name });
  const element = made("fieldset", {}, made("legend", {}, `${input.name}: ${hint}`), box);
  const read = () => {
    const words = box.value.split(/\s+/).filter(Boolean);
    const numbers = encoder ? placesOf(words, encoder) : numbersOf(box.value);
    return [numbers, sizesFor(input, numbers.length, bounds)];
  };
  return { element, read };
}

function fieldOf(input, told, encoder, bounds, changed) {
  if (told.kind === "picture") return pictureField(input, told, bounds, changed);
  if (told.kind === "row") return rowField(input, told.labels, encoder, bounds);
  return textField(input, encoder, bounds);
}

// --- the page ------------------------------------------------------------------------------------------------------

const place = (id) => document.getElementById(id);

export function say(text, state) {
  place("state").textContent = text;
  place("state").dataset.state = state;
}

export const failed = (error) => say(error.message ?? String(error), "failed");

export function show(outputs, classes, shares) {
  const best = scoringOf(outputs, classes);
  const scores = best === undefined ? [] : sharesOf(Array.from(outputs[best].data, Number), shares);
  const order = scores.map((s, i) => [s, i]).sort(([a], [b]) => b - a).slice(0, SHOWN);
  place("answers").replaceChildren(...order.map(([share, i]) => {
    const bar = made("i");
    bar.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
    const name = classes[i] ?? String(i);
    const row = made("li", {}, bar, made("span", {}, name), made("span", {}, `${(100 * share).toFixed(1)} %`));
    Object.assign(row.dataset, { class: name, share });
    return row;
  }));
  const others = Object.entries(outputs).filter(([name]) => name !== best);
  place("others").replaceChildren(...others.flatMap(([name, { data, dims }]) => {
    const few = Array.from(data.slice(0, SHOWN), String).join(", ") + (data.length > SHOWN ? ", …" : "");
    return [made("dt", {}, `${name} [${dims.join(", ")}]`), made("dd", { "data-output": name }, few)];
  }));
}

async function fetched(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name} is not there: ${answer.status}`);
  return answer;
}

/** A form for one function of the bundle, and what runs it. */
async function opened(ort, bundle, name) {
  const { file, details } = bundle.targets.web[name];
  const { inputs, sizes } = bundle.signatures[name];
  const model = new Uint8Array(await (await fetched(file)).arrayBuffer());
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  let running = false, again = false;

  async function run() {
    if (running) return void (again = true); // a session runs one at a time: then once more, with what is there then
    running = true;
    try {
      const feeds = {};
      inputs.forEach((input, i) => {
        const [numbers, dims] = fields[i].read();
        if (!session.inputNames.includes(input.name)) return;
        feeds[input.name] = new ort.Tensor(input.dtype, typed(numbers, input), dims);
      });
      const start = performance.now();
      const outputs = await session.run(feeds);
      const time = performance.now() - start;
      show(outputs, bundle.classes, details.page.shares);
      say(`answered in ${time.toFixed(1)} ms`, "answered");
      place("state").dataset.milliseconds = time;
    } catch (error) {
      failed(error);
    }
    running = false;
    if (again) {
      again = false;
      await run();
    }
  }

  const { fields: told } = details.page;
  const fields = inputs.map((input) => fieldOf(input, told[input.name], bundle.encoders[input.name], sizes, run));
  return { elements: fields.map((field) => field.element), run };
}

async function start() {
  const begin = performance.now();
  const [ort, answer] = await Promise.all([import("./ort.wasm.bundle.min.mjs"), fetched("bundle.json")]);
  const bundle = await answer.json();
  ort.env.wasm.numThreads = 1; // more take headers that plain servers do not send
  ort.env.wasm.wasmPaths = { wasm: new URL("ort-wasm-simd-threaded.wasm", import.meta.url).href };
  document.title = place("name").textContent = bundle.name;
  const names = Object.keys(bundle.targets.web);
  const choice = made("select", {}, ...names.map((name) => made("option", {}, name)));
  const button = made("button", {}, "run");
  let open;

  async function turn() {
    say("Loading …", "loading");
    open = await opened(ort, bundle, choice.value);
    const head = names.length > 1 ? [made("label", {}, "function", choice)] : [];
    place("fields").replaceChildren(...head, ...open.elements, button);
    place("state").dataset.loaded = performance.now() - begin;
    say("ready", "ready");
  }
  choice.addEventListener("change", () => turn().catch(failed));
  place("fields").addEventListener("submit", (event) => {
    event.preventDefault();
    open.run();
  });
  await turn();
}

if (globalThis.document?.getElementById("fields")) start().catch(failed);
