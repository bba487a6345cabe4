"use strict";
// im2col: which pixels each column came from, and into which columns each pixel was copied.

const PADDING = [128, 128, 128]; // --padding of the style sheet

class Windows {
  constructor({ kernel, stride, padding, dilation, output }) {
    Object.assign(this, { kernel, stride, padding, dilation, output });
  }

  /** Pixel (y, x) under kernel element (i, j) of the window of output pixel (oy, ox); it may lie in the padding. */
  pixel([oy, ox], [i, j]) {
    return [
      oy * this.stride[0] + i * this.dilation[0] - this.padding[0],
      ox * this.stride[1] + j * this.dilation[1] - this.padding[1],
    ];
  }

  /** Every [output pixel, kernel element] that pixel (y, x) is copied to. */
  copies([y, x]) {
    const along = (axis, pixel) => Array.from({ length: this.kernel[axis] }, (_, element) => {
      const place = (pixel + this.padding[axis] - element * this.dilation[axis]) / this.stride[axis];
      return [place, element];
    }).filter(([place]) => Number.isInteger(place) && place >= 0 && place < this.output[axis]);
    return along(0, y).flatMap(([oy, i]) => along(1, x).map(([ox, j]) => [[oy, ox], [i, j]]));
  }
}

/**
 * The image on one side, its columns on the other: pointing at one marks the matching parts of the other.
 *
 * `x` has the numbers of the images (N, C, H, W), of which the first is shown. `lightResult` marks an output pixel in
 * the drawn result; for null, it marks nothing.
 */
function columnsView(window_, x, room, lightResult) {
  const windows = new Windows(window_);
  const [height, width] = windows.output;
  const [rows, columns] = windows.kernel;
  const [count, total] = [height * width, x.shown[1] * rows * columns];
  const elementAt = (k) => [Math.floor(k / (rows * columns)), Math.floor(k / columns) % rows, k % columns]; // c, i, j
  const outputAt = (p) => [Math.floor(p / width), p % width];
  const sourceOf = (p, k) => {
    const [c, i, j] = elementAt(k);
    return [0, c, ...windows.pixel(outputAt(p), [i, j])];
  };
  const first = firstOf(x);
  const image = heatMap(first, Math.min(room, 420), "The image that the columns are copied from.");

  const cell = Math.max(3, Math.min(16, Math.floor(room / count), Math.floor(420 / total)));
  const spoken = `im2col: ${count} columns of ${total} numbers, one column for each output pixel.`;
  const canvas = make("canvas", { role: "img", "aria-label": spoken, width: count, height: total });
  Object.assign(canvas.style, { width: `${count * cell}px`, height: `${total * cell}px` });
  paint(canvas, first, sourceOf);
  const cells = overlay(count * cell, total * cell);
  const matrix = make("div", { class: "image" }, canvas, cells);
  Object.assign(matrix.style, { width: `${count * cell}px`, height: `${total * cell}px` });
  const scroller = make("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "The columns" }, matrix);
  const bringIntoView = (p) => { scroller.scrollLeft = (p + 0.5) * cell - scroller.clientWidth / 2; };
  const words = make("p", { class: "words", "aria-live": "polite" });

  /** Show column p, and mark its number k (null: no number). */
  const showColumn = (p, k) => {
    const from = Array.from({ length: total }, (_, other) => sourceOf(p, other));
    image.light(from.map((index, other) => [index, other === k ? "exact" : "lit"]));
    const exact = k === null ? [] : [[p * cell, k * cell, cell, cell, "exact"]];
    cells.light([[p * cell, 0, cell, total * cell, "lit"], ...exact]);
    lightResult(outputAt(p));
    byColumn.value = p;
    const padded = from.filter((index) => isPadding(first, index)).length;
    words.textContent = `Column ${p} is the window of output pixel (${outputAt(p).join(", ")}): `
      + `${total - padded} pixels`
      + (padded ? `, and ${padded} zeros of the padding.` : ".")
      + (k === null ? "" : ` Number ${k} in it is ${described(first, sourceOf(p, k))}.`);
  };

  const showPixel = ([, c, y, x_]) => {
    const copies = windows.copies([y, x_]).map(([[oy, ox], [i, j]]) => [oy * width + ox, (c * rows + i) * columns + j]);
    image.light([[[0, c, y, x_], "exact"]]);
    cells.light(copies.map(([p, k]) => [p * cell, k * cell, cell, cell, "exact"]));
    lightResult(null);
    if (copies.length) bringIntoView(copies[0][0]);
    byPixel.value = (c * first.shown[2] + y) * first.shown[3] + x_;
    const copied = copies.length === 1 ? "once" : `${copies.length} times`;
    words.textContent = `${described(first, [0, c, y, x_])} is copied ${copied}, to each window that sees it; `
      + "its gradient is the sum of the gradients of its copies.";
  };

  const slider = (name, last, show) => {
    const input = make("input", { type: "range", min: 0, max: last, value: 0, class: name });
    input.addEventListener("input", () => {
      show(Number(input.value));
      input.setAttribute("aria-valuetext", words.textContent);
    });
    return input;
  };
  const byColumn = slider("by-column", count - 1, (p) => { showColumn(p, null); bringIntoView(p); });
  const byPixel = slider("by-pixel", first.flat.length - 1, (position) =>
    showPixel(first.strides.map((stride, axis) => Math.floor(position / stride) % first.shown[axis])));

  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    const [p, k] = [Math.floor((event.clientX - box.left) / cell), Math.floor((event.clientY - box.top) / cell)];
    if (p >= 0 && p < count && k >= 0 && k < total) showColumn(p, k);
  };
  matrix.addEventListener("pointermove", point);
  matrix.addEventListener("pointerdown", point);
  image.onpoint = showPixel;

  const channels = window_.image[1];
  const cut = x.shown[1] < channels ? `; rows of channels 0 to ${x.shown[1] - 1} of ${channels}` : "";
  const view = make("div", { class: "columns" },
    make("div", { class: "side" }, make("h4", {}, `Image, ${sizes(window_.image.slice(1))}`), image,
      make("label", {}, "Pixel", byPixel)),
    make("div", { class: "side" }, make("h4", {}, `Columns, ${channels * rows * columns} x ${count}`), scroller,
      make("p", { class: "legend" }, make("span", { class: "padding" }), `padding${cut}`),
      make("label", {}, "Column", byColumn)),
    words);
  const central = Math.floor(height / 2) * width + Math.floor(width / 2);
  showColumn(central, null);
  requestAnimationFrame(() => bringIntoView(central)); // when it is on the page
  return view;
}

/** The first image of a batch (N, C, H, W). */
function firstOf(x) {
  const first = new Numbers({ ...x.encoded, shown: [1, ...x.shown.slice(1)] });
  first.flat = first.flat.slice(0, first.strides[0]);
  return first;
}

/** Draw one dot for each number of the columns, except for pixels that the page does not hold. */
function paint(canvas, x, sourceOf) {
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(canvas.width, canvas.height);
  for (let k = 0; k < canvas.height; k++) {
    for (let p = 0; p < canvas.width; p++) {
      const index = sourceOf(p, k);
      const number = x.at(index);
      const colour = number === undefined ? PADDING : colourOf(number, x.largest);
      const opaque = number !== undefined || isPadding(x, index);
      image.data.set([...colour, opaque ? 255 : 0], 4 * (k * canvas.width + p));
    }
  }
  pen.putImageData(image, 0, 0);
}

function isPadding(x, [, , row, column]) {
  const [, , height, width] = x.encoded.shape;
  return row < 0 || column < 0 || row >= height || column >= width;
}

function described(x, index) {
  if (isPadding(x, index)) return "0, of the padding";
  const number = x.at(index);
  const value = number === undefined ? " (not shown)" : ` ${x.encoded.exact ? "=" : "≈"} ${written(number)}`;
  return `x[${index.join(", ")}]${value}`;
}
