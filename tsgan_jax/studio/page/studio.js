"use strict";
// The page: its state, what changes it, and how it is drawn.  Masks are never changed in place once they are in the
// past, so a step of undo is a reference.  Everything lives in this window; a reload finds it in sessionStorage.

const $ = (id) => document.getElementById(id);
const token = new URLSearchParams(location.search).get("token") ?? "";
const WINDOWS = { lung: [-600, 1500], mediastinum: [40, 400] }; // level and width in HU; "whole" is the network's
const MOST_UNDO = 100;
const LARGEST_DIFFERENCE = 500; // HU, shown white

let facts = null, n = 0;
const state = { mask: null, origin: null, edited: false, pixelMm: 1, noise: { seed: 0, index: 0 }, real: null, hu: null };
const past = [], future = [];
let lastReason = "", chosen = null, cursor = null, stroke = null, panning = false;
const view = { zoom: 1, x: 0, y: 0 };
const layers = { mask: document.createElement("canvas"), ct: document.createElement("canvas") };
let outlines = [];

// ---------------------------------------------------------------- asking the server

async function ask(name, body = {}) {
  const headers = { "Content-Type": "application/json", "X-Studio-Token": token };
  let response;
  try {
    response = await fetch(`/api/${name}`, { method: "POST", headers, body: JSON.stringify(body) });
  } catch {
    throw new Error("bin/studio does not answer. Is it still running?");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function fail(error) {
  $("error").hidden = false;
  $("error").firstElementChild.textContent = error.message;
  say("");
}

const say = (text) => { $("status").textContent = text; };

// `work` one call at a time; of the calls that come meanwhile, the last one is made afterwards.
function latest(work) {
  let busy = false, waiting = null;
  return async function run(...given) {
    if (busy) { waiting = given; return; }
    busy = true;
    try { await work(...given); $("error").hidden = true; } catch (error) { fail(error); }
    busy = false;
    if (waiting) { const next = waiting; waiting = null; run(...next); }
  };
}

function later(work, milliseconds) {
  let timer = 0;
  return () => { clearTimeout(timer); timer = setTimeout(work, milliseconds); };
}

const painted = () =>
  ({ mask: textOf(state.mask), ...state.noise, origin: state.origin, edited: state.edited });

const askCt = later(latest(async () => {
  const started = performance.now();
  const answer = await ask("ct", painted());
  state.hu = new Int16Array(bytesOf(answer.hu).buffer);
  const seconds = ((performance.now() - started) / 1000).toFixed(2);
  $("gate").className = answer.refused.length ? "bad" : "good";
  $("gate").textContent = answer.refused.length ? `The gate would refuse this mask: ${answer.refused.join(", ")}` : "Plausible";
  say(`CT in ${seconds} s`);
  drawCt();
  tell();
}), 40);

// A mask from the server.  A walk's steps are one step of undo.
const askMask = latest(async (name, body, noise) => {
  say(name === "real" ? "loading" : "drawing");
  const answer = await ask(name, body);
  const real = answer.real ? new Int16Array(bytesOf(answer.real).buffer) : null;
  remember(name === "walk" ? "walk" : "");
  Object.assign(state, { mask: bytesOf(answer.mask), origin: answer.origin, edited: false, pixelMm: answer.pixel_mm, real });
  if (noise) state.noise = noise;
  if (answer.about) $("real-about").textContent = `${answer.about}; ${answer.count} slices`;
  if (name !== "walk") for (const id of ["share", "mixed"]) setSlider(id, 0);
  choose(null);
  changed();
  if (answer.note) say(answer.note);
});

// ---------------------------------------------------------------- changes and undo

const snapshot = () => ({ ...state, noise: { ...state.noise } });

// Call before a change; changes with the same reason in a row are one step.
function remember(reason = "") {
  if (!state.mask || (reason && reason === lastReason)) return;
  lastReason = reason;
  past.push(snapshot());
  if (past.length > MOST_UNDO) past.shift();
  future.length = 0;
}

function step(from, to) {
  if (!from.length) return;
  to.push(snapshot());
  Object.assign(state, from.pop());
  lastReason = "";
  choose(null);
  changed();
}

// Draw and ask for CT after the mask has changed.
function changed() {
  outlines = outlinesOf(state.mask, n);
  const colours = facts.classes.map(({ rgb }) => packed(...rgb));
  fillLayer(layers.mask, (at) => colours[state.mask[at]]);
  $("undo").disabled = !past.length;
  $("redo").disabled = !future.length;
  $("compare").hidden = !state.real;
  listNodules();
  drawCt();
  askCt();
  keep();
}

function keepNow() {
  if (!state.mask) return;
  const settings = Object.fromEntries(fields().map((field) => [field.id, field.value]));
  const kept = { ...state, mask: textOf(state.mask), real: state.real && textOf(new Uint8Array(state.real.buffer)), hu: null, settings };
  try { sessionStorage.setItem(storeName(), JSON.stringify(kept)); } catch { /* a full or forbidden store: a reload begins anew */ }
}

const keep = later(keepNow, 200);

const storeName = () => `studio ${facts.name} ${n}`;
const fields = () => [...document.querySelectorAll("aside input, #size, #level, #width")];

// The state before a reload; false if there is none, or it is of other networks.
function restored() {
  let kept = null;
  try { kept = JSON.parse(sessionStorage.getItem(storeName())); } catch { return false; }
  if (!kept || typeof kept.mask !== "string") return false;
  const { settings, ...rest } = kept, mask = bytesOf(kept.mask);
  if (mask.length !== n * n || mask.some((code) => code > NODULE)) return false;
  Object.assign(state, rest, { mask, real: kept.real && new Int16Array(bytesOf(kept.real).buffer) });
  for (const field of fields()) if (settings[field.id] !== undefined) field.value = settings[field.id];
  return true;
}

// ---------------------------------------------------------------- nodules

function choose(nodule, rays = null) {
  lastReason = "";
  chosen = null;
  if (nodule) {
    const x = Math.round(nodule.x), y = Math.round(nodule.y);
    const steps = nodule.places.map((each) => [each % n - x, Math.floor(each / n) - y]);
    chosen = { x, y, steps, rays: rays ?? raysOf(nodule, n), base: without(state.mask, n, flags(nodule.places, n), isSoft) };
    $("mm").value = diameterOf(steps.length, state.pixelMm).toFixed(1);
  }
  listNodules();
  redraw();
}

// Put the chosen nodule where it now is; it stays chosen.
function putChosen(reason) {
  remember(reason);
  state.mask = withNodule(chosen.base, n, chosen.x, chosen.y, chosen.steps);
  state.edited = true;
  changed();
}

function moveChosen(x, y, reason) {
  const inside = (value) => Math.max(0, Math.min(n - 1, value));
  [chosen.x, chosen.y] = [inside(x), inside(y)];
  putChosen(reason);
}

function resizeChosen() {
  if (!chosen || !$("mm").checkValidity()) return;
  chosen.steps = stepsOf(chosen.rays, areaOf($("mm").valueAsNumber, state.pixelMm));
  putChosen("resize");
}

function addNodule(at) {
  if (!isSoft(state.mask[at.y * n + at.x])) throw new Error("A nodule can be put on lung or body only.");
  if (!$("mm").checkValidity()) throw new Error("The nodule's diameter has to be 1 to 60 mm.");
  const rays = newRays(), steps = stepsOf(rays, areaOf($("mm").valueAsNumber, state.pixelMm));
  chosen = { x: at.x, y: at.y, steps, rays, base: state.mask };
  putChosen("");
}

function removeChosen() {
  if (!chosen) return;
  remember();
  Object.assign(state, { mask: chosen.base, edited: true });
  choose(null);
  changed();
}

const noduleAt = (at) => nodulesOf(state.mask, n).find((each) => each.places.includes(at.y * n + at.x));
const isChosen = (nodule) =>
  chosen && nodule.places.some((each) => chosen.steps.some(([dx, dy]) => each === (chosen.y + dy) * n + chosen.x + dx));

function listNodules() {
  const found = nodulesOf(state.mask, n);
  $("nodules").replaceChildren(...found.map((nodule, at) => {
    const row = document.createElement("li"), pick = document.createElement("button"), drop = document.createElement("button");
    const where = document.createElement("small");
    pick.textContent = `${diameterOf(nodule.places.length, state.pixelMm).toFixed(1)} mm`;
    where.textContent = `x ${Math.round(nodule.x)}, y ${Math.round(nodule.y)}`;
    pick.append(where);
    pick.setAttribute("aria-pressed", Boolean(isChosen(nodule)));
    pick.onclick = () => { setTool("nodule"); choose(nodulesOf(state.mask, n)[at]); $("nodules").children[at].firstChild.focus(); };
    drop.textContent = "\u00d7";
    drop.setAttribute("aria-label", `Remove nodule ${at + 1}`);
    drop.onclick = () => { choose(nodulesOf(state.mask, n)[at]); removeChosen(); };
    row.append(pick, drop);
    return row;
  }));
  if (!found.length) {
    const none = document.createElement("li");
    none.className = "none";
    none.textContent = "none; choose Nodule and click a lung";
    $("nodules").append(none);
  }
}

// ---------------------------------------------------------------- tools

const picked = (name) => document.querySelector(`input[name=${name}]:checked`)?.value;
const setTool = (name) => { document.querySelector(`input[name=tool][value=${name}]`).checked = true; toolChanged(); };

function pickClass(code) {
  document.querySelector(`input[name=class][value="${code}"]`).checked = true;
  if (picked("tool") !== "fill") setTool("brush");
}

function toolChanged() {
  if (picked("tool") !== "nodule") choose(null);
  redraw();
}

function begin(at) {
  const tool = picked("tool"), here = at.y * n + at.x;
  if (tool === "nodule") {
    const nodule = noduleAt(at);
    if (!nodule) try { addNodule(at); } catch (error) { return fail(error); }
    else if (!isChosen(nodule)) choose(nodule);
    stroke = { tool, grip: { x: at.x - chosen.x, y: at.y - chosen.y }, moved: false };
    return;
  }
  const code = Number(picked("class"));
  remember();
  state.edited = true;
  if (tool === "fill") {
    const filled = patch(state.mask, n, here, false);
    state.mask = state.mask.slice();
    for (const each of filled) state.mask[each] = code;
    changed();
    return;
  }
  stroke = { tool, code, last: at };
  if (tool === "erase") {
    const erased = state.mask[here];
    stroke.erased = erased;
    stroke.around = without(state.mask, n, state.mask.map((each) => each === erased), (each) => each !== erased);
  }
  state.mask = state.mask.slice();
  go(at);
}

function go(at) {
  if (!stroke) return;
  if (stroke.tool === "nodule") {
    const [x, y] = [at.x - stroke.grip.x, at.y - stroke.grip.y];
    if (x === chosen.x && y === chosen.y) return;
    if (!stroke.moved) { lastReason = ""; stroke.moved = true; }
    moveChosen(x, y, "drag");
    return;
  }
  for (const each of strokeOf(n, stroke.last, at, $("size").valueAsNumber)) {
    if (stroke.tool === "brush") state.mask[each] = stroke.code;
    else if (state.mask[each] === stroke.erased) state.mask[each] = stroke.around[each];
  }
  stroke.last = at;
  changed();
}

function end() {
  stroke = null;
  lastReason = "";
}

// ---------------------------------------------------------------- pictures

const packed = (red, green, blue) => (255 << 24 | blue << 16 | green << 8 | red) >>> 0; // as ImageData has it

function fillLayer(layer, colour) {
  const image = new ImageData(n, n), pixels = new Uint32Array(image.data.buffer);
  for (let at = 0; at < n * n; at++) pixels[at] = colour(at);
  layer.getContext("2d").putImageData(image, 0, 0);
  redraw();
}

function drawCt() {
  const which = state.real ? picked("compare") : "made", { hu, real } = state;
  if (!hu) return;
  const low = $("level").valueAsNumber - $("width").valueAsNumber / 2, width = $("width").valueAsNumber;
  const shown = which === "real" ? real : hu;
  fillLayer(layers.ct, (at) => {
    const share = which === "difference" ? Math.abs(hu[at] - real[at]) / LARGEST_DIFFERENCE : (shown[at] - low) / width;
    const grey = Math.round(255 * Math.max(0, Math.min(1, share)));
    return packed(grey, grey, grey);
  });
}

let drawing = 0;
function redraw() {
  if (!drawing && n) drawing = requestAnimationFrame(() => { drawing = 0; paint($("mask"), layers.mask); paint($("ct"), layers.ct); });
}

function paint(canvas, layer) {
  const context = canvas.getContext("2d"), scale = canvas.width / n * view.zoom, line = devicePixelRatio / scale;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = canvas.id === "ct";
  context.imageSmoothingQuality = "high";
  context.setTransform(scale, 0, 0, scale, -view.x * scale, -view.y * scale);
  context.drawImage(layer, 0, 0);
  if (canvas.id === "ct" && $("outline").checked) {
    for (const [code, path] of outlines) stroked(context, path, `rgb(${facts.classes[code].rgb})`, 1.5 * line);
  }
  if (chosen) {
    const places = chosen.steps.map(([dx, dy]) => (chosen.y + dy) * n + chosen.x + dx);
    stroked(context, outlinesOf(flags(places, n), n)[4][1], "#fff", 2 * line, [4 * line, 3 * line]);
  }
  if (cursor) drawCursor(context, line);
}

function drawCursor(context, line) {
  const path = new Path2D(), tool = picked("tool"), [x, y] = [cursor.x + 0.5, cursor.y + 0.5];
  if (tool === "brush" || tool === "erase") path.arc(x, y, Math.max(0.5, $("size").valueAsNumber / 2), 0, 2 * Math.PI);
  const arm = 5 * line;
  for (const [dx, dy] of [[arm, 0], [0, arm]]) { path.moveTo(x - dx, y - dy); path.lineTo(x + dx, y + dy); }
  stroked(context, path, "#000", 3 * line);
  stroked(context, path, "#fff", line);
}

function stroked(context, path, colour, width, dash = []) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.setLineDash(dash);
  context.stroke(path);
}

function zoomTo(zoom, x = n / 2, y = n / 2) {
  const next = Math.max(1, Math.min(16, zoom)), share = view.zoom / next;
  Object.assign(view, { zoom: next, x: x - (x - view.x) * share, y: y - (y - view.y) * share });
  pan(0, 0);
}

function pan(dx, dy) {
  const most = n - n / view.zoom;
  view.x = Math.max(0, Math.min(most, view.x + dx));
  view.y = Math.max(0, Math.min(most, view.y + dy));
  $("fit").textContent = `${Math.round(100 * view.zoom)} %`;
  redraw();
}

function tell() {
  if (!cursor || !state.mask) { $("pointer").textContent = "\u00a0"; return; }
  const at = cursor.y * n + cursor.x, hu = (values) => `${String(values[at]).replace("-", "\u2212")} HU`;
  const parts = [`x ${cursor.x}  y ${cursor.y}`, facts.classes[state.mask[at]].name];
  if (state.hu) parts.push(hu(state.hu));
  if (state.real) parts.push(`real ${hu(state.real)}`);
  $("pointer").textContent = parts.join("   ");
}

function setSlider(id, value) {
  $(id).value = value;
  showSlider($(id));
}

function showSlider(slider) {
  const units = { share: "%", size: "px", level: "HU", width: "HU" };
  const value = slider.id === "truncation" ? slider.valueAsNumber.toFixed(2) : slider.value.replace("-", "\u2212");
  slider.parentElement.querySelector("output").textContent = slider.id === "mixed" && !slider.valueAsNumber ? "none" : `${value} ${units[slider.id] ?? ""}`;
}

function setWindow(name) {
  const [level, width] = windowOf(name);
  setSlider("level", level);
  setSlider("width", width);
  windowChanged();
}

function windowOf(name) {
  const [low, high] = facts.window;
  return WINDOWS[name] ?? [(low + high) / 2, high - low];
}

function windowChanged() {
  for (const preset of document.querySelectorAll("input[name=window]")) {
    const [level, width] = windowOf(preset.value);
    preset.checked = level === $("level").valueAsNumber && width === $("width").valueAsNumber;
  }
  drawCt();
  keep();
}

// ---------------------------------------------------------------- what the controls do

const drawn = (id) => ({ seed: $("seed").valueAsNumber, index: $(id).valueAsNumber, truncation: facts.truncation === null ? null : $("truncation").valueAsNumber });

function valid(...ids) {
  const wrong = ids.map($).find((field) => !field.checkValidity());
  if (wrong) fail(new Error(`${wrong.labels[0].textContent.trim()}: expected a whole number of ${wrong.min} or more.`));
  return !wrong;
}

function drawMask() {
  if (valid("seed", "index")) askMask("draw", drawn("index"), { seed: $("seed").valueAsNumber, index: $("index").valueAsNumber });
}

function nextMask() {
  $("index").value = ($("index").valueAsNumber || 0) + 1;
  $("to").value = $("index").valueAsNumber + 1;
  drawMask();
}

function walk() {
  if (!valid("seed", "index", "to")) return;
  const finer = $("mixed").valueAsNumber;
  const body = { first: drawn("index"), second: drawn("to"), share: $("share").valueAsNumber / 100, second_from: finer ? facts.layers - finer : null };
  askMask("walk", body, { seed: body.first.seed, index: body.first.index });
}

async function openFile(file) {
  if (!file) return;
  if (file.size > facts.most_bytes) return fail(new Error(`${file.name}: larger than ${facts.most_bytes >> 20} MB; masks are small PNG.`));
  askMask("open", { name: file.name.slice(0, 255), png: textOf(new Uint8Array(await file.arrayBuffer())) });
}

const save = latest(async () => {
  say("saving");
  const { file, count } = await ask("save", painted());
  say(`Saved ${file}: ${count} ${count === 1 ? "pair" : "pairs"} in ${facts.out}`);
});

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const fileName = (kind) => `${facts.name}-${state.noise.seed}-${state.noise.index}-${kind}.png`;

const exportMask = latest(async () => {
  const { png } = await ask("png", painted());
  download(new Blob([bytesOf(png)], { type: "image/png" }), fileName("mask"));
});

function exportPair() {
  const side = Math.max(512, n), gap = 8, foot = 30, canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [2 * side + gap, side + foot];
  const context = canvas.getContext("2d");
  context.fillStyle = "#12151a";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false;
  context.drawImage(layers.mask, 0, 0, side, side);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(layers.ct, side + gap, 0, side, side);
  context.fillStyle = "#9aa5b1";
  context.font = "14px system-ui, sans-serif";
  context.fillText(`${facts.name}, synthetic, not for diagnosis; level ${$("level").value}, width ${$("width").value} HU`, 8, side + 20);
  canvas.toBlob((blob) => download(blob, fileName("pair")));
}

// ---------------------------------------------------------------- pointer and keyboard

function pixelOf(canvas, event) {
  const box = canvas.getBoundingClientRect(), inside = (value) => Math.max(0, Math.min(n - 1, Math.floor(value)));
  const across = n / view.zoom;
  return { x: inside(view.x + (event.clientX - box.left) / box.width * across), y: inside(view.y + (event.clientY - box.top) / box.height * across) };
}

function listenTo(canvas) {
  canvas.onpointerdown = (event) => {
    if (!state.mask || event.button > 1) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    panning = event.button === 1 || event.shiftKey;
    cursor = pixelOf(canvas, event);
    if (!panning) begin(cursor);
    tell();
  };
  canvas.onpointermove = (event) => {
    if (!n) return;
    const across = n / view.zoom / canvas.getBoundingClientRect().width;
    if (panning) return pan(-event.movementX * across, -event.movementY * across);
    cursor = pixelOf(canvas, event);
    go(cursor);
    tell();
    redraw();
  };
  canvas.onpointerup = canvas.onpointercancel = () => { panning = false; end(); };
  canvas.onpointerleave = () => { if (!stroke) { cursor = null; tell(); redraw(); } };
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { x, y } = pixelOf(canvas, event);
    zoomTo(view.zoom * 1.2 ** -Math.sign(event.deltaY), x + 0.5, y + 0.5);
  }, { passive: false });
  canvas.onkeydown = (event) => {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    const size = event.shiftKey ? 8 : 1, inside = (value) => Math.max(0, Math.min(n - 1, value));
    if (dx || dy) {
      event.preventDefault();
      if (chosen) moveChosen(chosen.x + size * dx, chosen.y + size * dy, "nudge");
      cursor = chosen ? { x: chosen.x, y: chosen.y } : { x: inside((cursor?.x ?? n >> 1) + size * dx), y: inside((cursor?.y ?? n >> 1) + size * dy) };
      tell();
      redraw();
    } else if (event.key === " " || event.key === "Enter") {
      event.preventDefault();
      cursor ??= { x: n >> 1, y: n >> 1 };
      if (!event.repeat && !stroke) { begin(cursor); end(); }
    }
  };
  new ResizeObserver(() => { canvas.width = canvas.height = Math.round(canvas.clientWidth * devicePixelRatio); redraw(); }).observe(canvas);
}

const KEYS = {
  b: () => setTool("brush"), f: () => setTool("fill"), e: () => setTool("erase"), n: () => setTool("nodule"),
  "[": () => resizeBrush(-2), "]": () => resizeBrush(2), d: nextMask,
  l: () => setWindow("lung"), m: () => setWindow("mediastinum"), w: () => setWindow("whole"),
  o: () => $("outline").click(), "+": () => zoomTo(view.zoom * 1.25), "=": () => zoomTo(view.zoom * 1.25),
  "-": () => zoomTo(view.zoom / 1.25), h: () => zoomTo(1), delete: removeChosen, backspace: removeChosen,
  escape: () => choose(null), "?": () => $("keys").showModal(),
};

function resizeBrush(by) {
  setSlider("size", $("size").valueAsNumber + by);
  redraw();
}

document.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  if (!facts || $("keys").open || event.altKey) return;
  if (event.ctrlKey || event.metaKey) {
    const work = { z: () => (event.shiftKey ? step(future, past) : step(past, future)), y: () => step(future, past), s: save }[key];
    if (work && !(key !== "s" && event.target.type === "number")) { event.preventDefault(); work(); }
    return;
  }
  if (event.target.type === "number") return;
  if (/^[0-5]$/.test(key)) pickClass(key);
  else if (KEYS[key] && state.mask) { event.preventDefault(); KEYS[key](); }
});

function listen() {
  listenTo($("mask"));
  listenTo($("ct"));
  const clicks = {
    undo: () => step(past, future), redo: () => step(future, past), draw: drawMask, next: nextMask, save,
    choose: () => $("file").click(), "export-mask": exportMask, "export-pair": exportPair, help: () => $("keys").showModal(),
    load: () => { if (valid("slice")) askMask("real", { slice: $("slice").valueAsNumber }); },
    in: () => zoomTo(view.zoom * 1.25), out: () => zoomTo(view.zoom / 1.25), fit: () => zoomTo(1),
  };
  for (const [id, work] of Object.entries(clicks)) $(id).onclick = () => work();
  for (const id of ["index", "seed", "truncation"]) $(id).onchange = drawMask;
  for (const id of ["share", "mixed"]) $(id).addEventListener("input", walk);
  $("to").onchange = () => { if ($("share").valueAsNumber || $("mixed").valueAsNumber) walk(); };
  $("mm").oninput = resizeChosen;
  $("file").onchange = () => { openFile($("file").files[0]); $("file").value = ""; };
  $("error").lastElementChild.onclick = () => { $("error").hidden = true; };
  $("outline").onchange = redraw;
  for (const field of document.querySelectorAll("input[type=range]")) field.addEventListener("input", () => { showSlider(field); keep(); });
  for (const id of ["level", "width"]) $(id).addEventListener("input", windowChanged);
  for (const field of document.querySelectorAll("input[name=tool]")) field.onchange = toolChanged;
  for (const field of document.querySelectorAll("input[name=compare]")) field.onchange = drawCt;
  for (const field of document.querySelectorAll("input[name=window]")) field.onchange = () => setWindow(field.value);
  addEventListener("pagehide", keepNow);
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => { event.preventDefault(); openFile(event.dataTransfer.files[0]); });
}

function listClasses() {
  $("classes").replaceChildren(...facts.classes.map(({ name, rgb }, code) => {
    const label = document.createElement("label"), input = document.createElement("input"), text = document.createElement("span");
    const colour = document.createElement("i");
    Object.assign(input, { type: "radio", name: "class", value: code, checked: code === NODULE, onchange: () => pickClass(code) });
    colour.style.background = `rgb(${rgb})`;
    text.append(colour, name);
    label.title = String(code);
    label.append(input, text);
    return label;
  }));
}

async function start() {
  facts = await ask("facts");
  n = facts.side;
  for (const layer of Object.values(layers)) layer.width = layer.height = n;
  const unfinished = facts.unfinished.length ? `, not fully trained: ${facts.unfinished.join(", ")}` : "";
  $("about").textContent = `${facts.name} \u00b7 ${n} px of ${facts.pixel_mm.toFixed(2)} mm${unfinished}`;
  $("save").title = `to ${facts.out} (Ctrl+S)`;
  $("walk").hidden = $("truncation-row").hidden = facts.truncation === null;
  $("real").hidden = !facts.real;
  $("seed").value = facts.seed;
  $("truncation").value = facts.truncation ?? 1;
  $("mixed").max = (facts.layers ?? 2) - 1;
  [$("level").min, $("level").max] = facts.window;
  listClasses();
  listen();
  setWindow("whole");
  if (restored()) { windowChanged(); changed(); } else drawMask();
  for (const slider of document.querySelectorAll("input[type=range]")) showSlider(slider);
}

start().catch(fail);
