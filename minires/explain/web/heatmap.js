"use strict";
// Tensors as heat maps. Blue is negative, orange is positive, and zero is the colour of the page.

const PALETTES = {
  light: {
    negative: ["#f4f4f2", "#92c5de", "#2166ac", "#053061"],
    positive: ["#f4f4f2", "#fdb863", "#d9730d", "#6b2c04"],
  },
  dark: {
    negative: ["#22272e", "#2b5f8f", "#5aa7e0", "#d5ecfc"],
    positive: ["#22272e", "#8a4f12", "#f0973a", "#ffe6c9"],
  },
};
const NOT_FINITE = [214, 0, 108];
const inTheDark = window.matchMedia("(prefers-color-scheme: dark)");

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const mixed = new Map(); // colours that were computed before

/** The colour of a number on a scale whose largest magnitude is `largest`, as [r, g, b]. */
function colourOf(number, largest) {
  if (!Number.isFinite(number)) return NOT_FINITE;
  const theme = inTheDark.matches ? "dark" : "light";
  const sign = number < 0 ? "negative" : "positive";
  const level = largest === 0 ? 0 : Math.round(255 * Math.min(1, Math.abs(number) / largest));
  const key = `${theme} ${sign} ${level}`;
  if (!mixed.has(key)) mixed.set(key, mix(PALETTES[theme][sign].map(rgb), level / 255));
  return mixed.get(key);
}

/** The colour at `place`, from 0 to 1, on a scale through several colours. */
function mix(stops, place) {
  const at = place * (stops.length - 1);
  const below = Math.min(stops.length - 2, Math.floor(at));
  return stops[below].map((channel, i) => Math.round(channel + (stops[below + 1][i] - channel) * (at - below)));
}

const contrasting = ([r, g, b]) => (0.3 * r + 0.59 * g + 0.11 * b > 128 ? "#000000" : "#ffffff");
const css = (colour) => `rgb(${colour.join(" ")})`;

/** The part of a tensor that the page holds: numbers by index. */
class Numbers {
  constructor(encoded) {
    this.encoded = encoded;
    this.shown = encoded.shown;
    this.largest = encoded.range[1];
    this.strides = this.shown.map((_, axis) => this.shown.slice(axis + 1).reduce((a, b) => a * b, 1));
    const [low, high] = encoded.range;
    const bytes = Uint8Array.from(atob(encoded.bytes), (character) => character.charCodeAt(0));
    this.flat = encoded.exact ? encoded.exact.map(Number)
      : Array.from(bytes, (byte) => (byte === 0 ? NaN : low + ((byte - 1) / 254) * (high - low)));
  }

  /** The number at an index; undefined outside the part that is shown. */
  at(index) {
    const inside = index.every((i, axis) => i >= 0 && i < this.shown[axis]);
    return inside ? this.flat[index.reduce((sum, i, axis) => sum + i * this.strides[axis], 0)] : undefined;
  }
}

/** E.g. "1.234", "−5.6e-7", "NaN". */
function written(number, digits = 4) {
  const value = Number(number);
  if (!Number.isFinite(value)) return String(value).replace("-", "−");
  const plain = value === 0 || (Math.abs(value) >= 1e-4 && Math.abs(value) < 1e7);
  const text = plain ? String(parseFloat(value.toPrecision(digits))) : value.toExponential(digits - 1);
  return text.replace(/^-/, "−");
}

const sizes = (shape) => shape.join("x") || "scalar";

/** An element with attributes and children; strings become text, never markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

function makeSvg(tag, attributes = {}, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return element;
}

/** Cells over a canvas of width x height that can be highlighted: `light([[x, y, w, h, class], ...])`. */
function overlay(width, height) {
  const svg = makeSvg("svg", { class: "overlay", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  svg.light = (cells) => svg.replaceChildren(...cells.map(([x, y, w, h, kind]) =>
    makeSvg("rect", { x, y, width: w, height: h, class: kind })));
  return svg;
}

const LABEL = 48; // size in pixels of a cell with a written number
const FEW = 12; // up to this many numbers are written

/**
 * Where each number of a tensor is drawn. The last two axes make a tile; tiles for the other axes are laid out in rows.
 * A tensor that is a single row is wrapped like text.
 */
class Layout {
  constructor(shown, room, labelled) {
    const [height, width] = [shown.at(-2) ?? 1, shown.at(-1) ?? 1];
    const leading = shown.slice(0, -2);
    const wrapped = height === 1 && leading.every((size) => size === 1);
    this.tile = wrapped ? [1, 1] : [height, width];
    this.axes = wrapped ? shown : leading;
    this.count = this.axes.reduce((a, b) => a * b, 1);
    this.gap = wrapped ? 1 : 4;
    const [rows, columns] = this.tile;
    const fits = (perRow) => Math.floor((room - (perRow - 1) * this.gap) / (perRow * columns));
    const smallest = labelled ? LABEL : wrapped ? 9 : 3;
    this.perRow = Math.min(this.count, wrapped ? this.count : this.preferred(leading));
    while (this.perRow > 1 && fits(this.perRow) < smallest) this.perRow -= 1;
    const lines = Math.ceil(this.count / this.perRow);
    const tallest = Math.floor((360 - (lines - 1) * this.gap) / (lines * rows));
    this.cell = labelled ? LABEL : Math.max(2, Math.min(24, fits(this.perRow), Math.max(tallest, 4)));
    this.width = this.perRow * (columns * this.cell + this.gap) - this.gap;
    this.height = lines * (rows * this.cell + this.gap) - this.gap;
  }

  /** Tiles in a row: the second axis of a weight or a batch; otherwise about twice as wide as high, in full rows. */
  preferred(leading) {
    const [rows, columns] = this.tile;
    if (leading.length > 1 && leading.at(-2) > 1 && leading.at(-1) > 1) return leading.at(-1);
    const about = Math.ceil(Math.sqrt((2 * this.count * rows) / columns));
    const near = Array.from({ length: about }, (_, i) => Math.floor(1.5 * about) - i).filter((n) => n > 0);
    return near.find((perRow) => this.count % perRow === 0) ?? about;
  }

  /** The corner of tile `number`. */
  corner(number) {
    const [rows, columns] = this.tile;
    const [line, place] = [Math.floor(number / this.perRow), number % this.perRow];
    return [place * (columns * this.cell + this.gap), line * (rows * this.cell + this.gap)];
  }

  /** [x, y, width, height] of the number at flat position `position`. */
  place(position) {
    const [rows, columns] = this.tile;
    const [x, y] = this.corner(Math.floor(position / (rows * columns)));
    const within = position % (rows * columns);
    return [x + (within % columns) * this.cell, y + Math.floor(within / columns) * this.cell, this.cell, this.cell];
  }

  /** The flat position under a point, or null on a gap. */
  under(x, y) {
    const [rows, columns] = this.tile;
    const [pitchX, pitchY] = [columns * this.cell + this.gap, rows * this.cell + this.gap];
    const number = Math.floor(y / pitchY) * this.perRow + Math.floor(x / pitchX);
    const [column, row] = [Math.floor((x % pitchX) / this.cell), Math.floor((y % pitchY) / this.cell)];
    const missed = x < 0 || y < 0 || column >= columns || row >= rows || x >= this.width || number >= this.count;
    return missed ? null : number * rows * columns + row * columns + column;
  }
}

/** Draw a tensor: a canvas, a legend, and the number under the pointer. `light([[index, kind], ...])` marks numbers. */
function heatMap(numbers, room, description) {
  const { shown, strides } = numbers;
  const labelled = numbers.flat.length <= FEW;
  const layout = new Layout(shown, room, labelled);
  const canvas = make("canvas", { role: "img", "aria-label": description });
  drawSharp(canvas, layout.width, layout.height, (pen) => drawNumbers(pen, numbers, layout, labelled));
  const cells = overlay(layout.width, layout.height);
  const image = make("div", { class: "image" }, canvas, cells);
  Object.assign(image.style, { width: `${layout.width}px`, height: `${layout.height}px` });
  const readout = make("span", { class: "readout", "aria-hidden": "true" });
  const scroller = make("div", { class: "scroll" }, image);
  const element = make("div", { class: "heatmap" }, scroller, legend(numbers, readout));

  const indexOf = (position) => strides.map((stride, axis) => Math.floor(position / stride) % shown[axis]);
  const positionOf = (index) => index.reduce((sum, i, axis) => sum + i * strides[axis], 0);
  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    const position = layout.under(event.clientX - box.left, event.clientY - box.top);
    if (position === null) return;
    const about = numbers.encoded.exact ? "" : "≈ ";
    readout.textContent = `[${indexOf(position).join(", ")}]  ${about}${written(numbers.flat[position])}`;
    element.onpoint?.(indexOf(position));
  };
  image.addEventListener("pointermove", point);
  image.addEventListener("pointerdown", point);
  const size = layout.cell < 7 ? " small" : "";
  element.light = (marks) => cells.light(marks.filter(([index]) => numbers.at(index) !== undefined)
    .map(([index, kind]) => [...layout.place(positionOf(index)), kind + size]));
  return element;
}

function drawNumbers(pen, numbers, layout, labelled) {
  Object.assign(pen, { font: "12px system-ui, sans-serif", textAlign: "center", textBaseline: "middle" });
  numbers.flat.forEach((number, position) => {
    const [x, y, width, height] = layout.place(position);
    const colour = colourOf(number, numbers.largest);
    pen.fillStyle = css(colour);
    pen.fillRect(x, y, width, height);
    if (!labelled) return;
    pen.fillStyle = contrasting(colour);
    pen.fillText(written(number, 3), x + width / 2, y + height / 2, width - 4);
  });
}

/** Draw on a canvas with as many pixels as the screen has. */
function drawSharp(canvas, width, height, draw) {
  const scale = Math.min(3, window.devicePixelRatio || 1);
  [canvas.width, canvas.height] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  [canvas.style.width, canvas.style.height] = [`${width}px`, `${height}px`];
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  draw(pen);
}

/** The range of the colours, and beside it the number under the pointer. */
function legend(numbers, readout) {
  const [low, high] = numbers.encoded.range;
  const stops = Array.from({ length: 13 }, (_, i) => css(colourOf(low + ((high - low) * i) / 12, numbers.largest)));
  const bar = make("span", { class: "bar", style: `background: linear-gradient(to right, ${stops.join(", ")})` });
  const strange = numbers.encoded.stats.not_finite > 0 ? make("span", { class: "strange" }, "not finite") : null;
  const ends = [low, high].map((number) => make("span", {}, written(number)));
  return make("p", { class: "legend" }, ends[0], bar, ends[1], strange, readout);
}
