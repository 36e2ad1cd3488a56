"use strict";
// Pure functions over masks: Uint8Array [n * n] of class codes, row by row.  A place is a number, y * n + x.

const NODULE = 5;
const PRECEDENCE = [5, 4, 2, 3, 1, 0]; // whose colour an edge between two classes has: the earlier one's
const RAYS = 32;

const isSoft = (code) => code >= 1 && code <= 3; // body and lungs: what a nodule may replace

function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function textOf(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

// The places next to one; diagonal: those that touch at a corner too.
function neighbours(place, n, diagonal) {
  const x = place % n, y = (place - x) / n, found = [];
  for (let dy = -1; dy <= 1; dy++)
    for (let dx = -1; dx <= 1; dx++)
      if ((dx || dy) && (diagonal || !dx || !dy) && x + dx >= 0 && x + dx < n && y + dy >= 0 && y + dy < n)
        found.push(place + dy * n + dx);
  return found;
}

// The connected places of one class, from one of them.
function patch(mask, n, start, diagonal) {
  const seen = new Uint8Array(n * n), found = [start];
  seen[start] = 1;
  for (let at = 0; at < found.length; at++)
    for (const next of neighbours(found[at], n, diagonal))
      if (!seen[next] && mask[next] === mask[start]) { seen[next] = 1; found.push(next); }
  return found;
}

// Nodules: patches that touch at a side or corner, each with its centre in pixels.
function nodulesOf(mask, n) {
  const seen = new Uint8Array(n * n), found = [];
  mask.forEach((code, place) => {
    if (code !== NODULE || seen[place]) return;
    const places = patch(mask, n, place, true);
    for (const each of places) seen[each] = 1;
    const x = places.reduce((sum, each) => sum + each % n, 0) / places.length;
    const y = places.reduce((sum, each) => sum + Math.floor(each / n), 0) / places.length;
    found.push({ places, x, y });
  });
  return found;
}

// The mask in which the places `gone` (a flag each) have the class of the nearest place that is kept.
function without(mask, n, gone, isKept) {
  const out = mask.slice(), label = new Int8Array(n * n).fill(-1), queue = [];
  mask.forEach((code, place) => { if (!gone[place] && isKept(code)) { label[place] = code; queue.push(place); } });
  for (let at = 0; at < queue.length; at++)
    for (const next of neighbours(queue[at], n, false))
      if (label[next] < 0) {
        label[next] = label[queue[at]];
        if (gone[next]) out[next] = label[next];
        queue.push(next);
      }
  return out;
}

function flags(places, n) {
  const found = new Uint8Array(n * n);
  for (const place of places) found[place] = 1;
  return found;
}

// A nodule's outline as distances from its centre along RAYS directions, 1 on average.
function raysOf(nodule, n) {
  const mean = Math.sqrt(nodule.places.length / Math.PI), rays = new Array(RAYS).fill(0);
  for (const place of nodule.places) {
    const dx = place % n - nodule.x, dy = Math.floor(place / n) - nodule.y;
    const ray = Math.round(Math.atan2(dy, dx) / (2 * Math.PI) * RAYS + RAYS) % RAYS;
    rays[ray] = Math.max(rays[ray], (Math.hypot(dx, dy) + 0.5) / mean);
  }
  return rays.map((_, at) => {
    const near = [-2, -1, 0, 1, 2].map((step) => rays[(at + step + RAYS) % RAYS]).filter((ray) => ray);
    return near.length ? near.reduce((sum, ray) => sum + ray, 0) / near.length : 1;
  });
}

// A new nodule's: round, with two gentle waves.
function newRays() {
  const [first, second] = [Math.random() * 6.28, Math.random() * 6.28];
  return Array.from({ length: RAYS }, (_, at) => {
    const angle = at / RAYS * 2 * Math.PI;
    return 1 + 0.1 * Math.sin(2 * angle + first) + 0.06 * Math.sin(3 * angle + second);
  });
}

// Steps [dx, dy] from the centre of the `count` pixels that lie deepest in an outline, so that the area is right.
function stepsOf(rays, count) {
  const reach = Math.ceil(2 * Math.sqrt(count / Math.PI)) + 2, found = [];
  for (let dy = -reach; dy <= reach; dy++)
    for (let dx = -reach; dx <= reach; dx++) {
      const ray = Math.round(Math.atan2(dy, dx) / (2 * Math.PI) * RAYS + RAYS) % RAYS;
      found.push([Math.hypot(dx, dy) / rays[ray], dx, dy]);
    }
  return found.sort((one, other) => one[0] - other[0]).slice(0, count).map(([, dx, dy]) => [dx, dy]);
}

const areaOf = (mm, pixelMm) => Math.max(1, Math.round(Math.PI * (mm / 2 / pixelMm) ** 2));
const diameterOf = (pixels, pixelMm) => 2 * Math.sqrt(pixels / Math.PI) * pixelMm;

// The mask `base` with a nodule's pixels around a centre; only lung and body give way.
function withNodule(base, n, x, y, steps) {
  const out = base.slice();
  for (const [dx, dy] of steps) {
    const place = (y + dy) * n + x + dx;
    if (x + dx >= 0 && x + dx < n && y + dy >= 0 && y + dy < n && isSoft(base[place])) out[place] = NODULE;
  }
  return out;
}

// The places of a brush of a diameter in pixels along a line.
function strokeOf(n, from, to, size) {
  const found = new Set(), length = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y)));
  const reach = Math.floor(size / 2), radius = size / 2;
  for (let step = 0; step <= length; step++) {
    const cx = Math.round(from.x + (to.x - from.x) * step / length);
    const cy = Math.round(from.y + (to.y - from.y) * step / length);
    for (let y = Math.max(0, cy - reach); y <= Math.min(n - 1, cy + reach); y++)
      for (let x = Math.max(0, cx - reach); x <= Math.min(n - 1, cx + reach); x++)
        if (Math.hypot(x - cx, y - cy) < radius) found.add(y * n + x);
  }
  return found;
}

// Edges between classes, as a Path2D for each class, in pixels.
function outlinesOf(mask, n) {
  const paths = PRECEDENCE.map(() => new Path2D());
  const edge = (one, other, x0, y0, x1, y1) => {
    if (one === other) return;
    const path = paths[Math.min(PRECEDENCE.indexOf(one), PRECEDENCE.indexOf(other))];
    path.moveTo(x0, y0);
    path.lineTo(x1, y1);
  };
  for (let y = 0; y < n; y++)
    for (let x = 0; x < n; x++) {
      const code = mask[y * n + x];
      if (x + 1 < n) edge(code, mask[y * n + x + 1], x + 1, y, x + 1, y + 1);
      if (y + 1 < n) edge(code, mask[(y + 1) * n + x], x, y + 1, x + 1, y + 1);
    }
  return paths.map((path, at) => [PRECEDENCE[at], path]);
}
