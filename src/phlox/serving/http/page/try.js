"use strict";

const $ = (id) => document.getElementById(id);
let inputs = []; // what each input gives when the model is asked: {name, read}

function made(tag, text, more) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  return Object.assign(element, more);
}

async function told(path, options) {
  const answer = await fetch(path, options);
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error || answer.statusText);
  return content;
}

/* A row of zeros of a shape, for whoever does not know what to write. */
function zeros(shape) {
  if (!shape.length) return 0;
  const n = shape[0] > 0 ? Math.min(shape[0], 64) : 4;
  return Array.from({ length: n }, () => zeros(shape.slice(1)));
}

function isImage(row) {
  return row.length === 2 || (row.length === 3 && [1, 3, 4].includes(row[2]));
}

function base64(blob) {
  return new Promise((done) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.readAsDataURL(blob);
  });
}

/* A field for numbers or text: JSON where it is some, else the text as it stands. */
function typed(tensor, row) {
  const label = made("label", `${tensor.name}: ${tensor.datatype} [${row.join(", ")}]`);
  const area = made("textarea", "", { name: tensor.name });
  area.value = tensor.datatype === "BYTES" ? "" : JSON.stringify(zeros(row));
  label.append(area);
  const read = () => {
    if (tensor.datatype === "BYTES" && !row.length) return area.value;
    try {
      return JSON.parse(area.value);
    } catch {
      return area.value;
    }
  };
  return { label, read };
}

/* A picture: a file, or what is drawn, white on black. */
function picture(tensor, row) {
  const label = made("label", `${tensor.name}: a picture of ${row[1]} × ${row[0]}`);
  const file = made("input", "", { type: "file", accept: "image/*" });
  const canvas = made("canvas", "", { width: 224, height: 224 });
  const pen = canvas.getContext("2d");
  const clear = made("button", "Clear", { type: "button" });
  const wipe = () => {
    pen.fillStyle = "black";
    pen.fillRect(0, 0, canvas.width, canvas.height);
  };
  wipe();
  clear.onclick = () => {
    wipe();
    file.value = "";
  };
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    pen.beginPath();
    pen.moveTo(event.offsetX, event.offsetY);
  };
  canvas.onpointermove = (event) => {
    if (!event.buttons) return;
    pen.lineTo(event.offsetX, event.offsetY);
    Object.assign(pen, { strokeStyle: "white", lineWidth: 16, lineCap: "round", lineJoin: "round" });
    pen.stroke();
  };
  label.append(file);
  const box = made("div");
  box.append(label, canvas, clear);
  const read = async () => {
    const drawn = () => new Promise((done) => canvas.toBlob(done, "image/png"));
    return { b64: await base64(file.files[0] || (await drawn())) };
  };
  return { label: box, read };
}

async function choose() {
  const name = $("model").value;
  const form = $("inputs");
  form.replaceChildren();
  $("answer").replaceChildren();
  inputs = [];
  try {
    const model = await told(`/v2/models/${encodeURIComponent(name)}`);
    $("about").textContent = `versions ${model.versions.join(", ")}, run by ${model.platform}`;
    for (const tensor of model.inputs) {
      const row = tensor.shape.slice(1);
      const field = isImage(row) ? picture(tensor, row) : typed(tensor, row);
      form.append(field.label);
      inputs.push({ name: tensor.name, read: field.read });
    }
  } catch (error) {
    $("about").textContent = error.message;
  }
}

function bars(scores) {
  const entries = Object.entries(scores).sort((a, b) => b[1] - a[1]).slice(0, 10);
  const values = entries.map(([, score]) => score);
  const low = Math.min(0, ...values);
  const high = Math.max(1, ...values);
  return entries.map(([label, score]) => {
    const bar = made("div", "", { className: "bar" });
    bar.append(made("span", label), made("meter", "", { min: low, max: high, value: score }), made("span", score.toFixed(4)));
    return bar;
  });
}

async function ask() {
  const answer = $("answer");
  answer.replaceChildren();
  try {
    const body = {};
    for (const input of inputs) body[input.name] = await input.read();
    const name = encodeURIComponent($("model").value);
    const found = await told(`/predict/${name}`, { method: "POST", body: JSON.stringify(body) });
    if (found.class) answer.append(made("h2", found.class));
    if (found.classes) answer.append(...bars(found.classes));
    answer.append(made("pre", JSON.stringify(found.outputs, null, 1)));
  } catch (error) {
    answer.append(made("p", error.message, { className: "error" }));
  }
}

async function start() {
  const index = await told("/v2/repository/index", { method: "POST" });
  const names = [...new Set(index.filter((m) => m.state === "READY").map((m) => m.name))];
  $("model").append(...names.map((name) => made("option", name, { value: name })));
  $("model").onchange = choose;
  $("ask").onclick = ask;
  const wanted = decodeURIComponent(location.hash.slice(1));
  if (names.includes(wanted)) $("model").value = wanted;
  if (names.length) await choose();
  else $("about").textContent = "No model is loaded yet.";
}

start();
