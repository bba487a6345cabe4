"use strict";
// im2col: which pixels each column came from, and into which columns each pixel was copied.

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

/** The view: the picture on one side, its columns on the other, each lighting the other. */
function columnsView(window_, x, room, result) {
  const windows = new Windows(window_);
  const [height, width] = windows.output;
  const [rows, columns] = windows.kernel;
  const channels = x.shown[1];
  const [total, all] = [channels * rows * columns, window_.picture[1] * rows * columns];
  const element = (k) => [Math.floor(k / (rows * columns)), Math.floor(k / columns) % rows, k % columns];
  const outputPixel = (p) => [Math.floor(p / width), p % width];

  const first = new Numbers({ ...x.encoded, shown: [1, ...x.shown.slice(1)] }); // of a batch, the first picture
  first.flat = first.flat.slice(0, first.strides[0]);
  const picture = heatMap(first, Math.min(room, 420), "The picture that the columns are taken from.");

  const cell = Math.max(3, Math.min(16, Math.floor(room / (height * width)), Math.floor(420 / total)));
  const [wide, high] = [height * width * cell, total * cell];
  const canvas = make("canvas", { role: "img",
    "aria-label": `im2col: ${height * width} columns, one for each output pixel, of ${total} numbers.` });
  [canvas.width, canvas.height] = [height * width, total];
  [canvas.style.width, canvas.style.height] = [`${wide}px`, `${high}px`];
  paint(canvas, windows, first, element, outputPixel);
  const cells = overlay(wide, high);
  const matrix = make("div", { class: "picture", style: `width: ${wide}px; height: ${high}px` }, canvas, cells);
  const words = make("p", { class: "words", "aria-live": "polite" });

  const showColumn = (p, k) => {
    const place = outputPixel(p);
    const lit = Array.from({ length: total }, (_, other) => {
      const [c, i, j] = element(other);
      return [[0, c, ...windows.pixel(place, [i, j])], other === k ? "exact" : "lit"];
    });
    picture.light(lit);
    cells.light([[p * cell, 0, cell, high, "lit"], ...(k === null ? [] : [[p * cell, k * cell, cell, cell, "exact"]])]);
    result?.light(place);
    byColumn.value = p;
    const padded = lit.filter(([index]) => first.at(index) === undefined).length;
    words.textContent = `Column ${p} is the window of output pixel (${place.join(", ")}): ` +
      (padded ? `${total - padded} pixels, and ${padded} zeros of the padding.` : `${total} pixels.`) +
      (k === null ? "" : ` Number ${k} in it is ${described(first, [0, element(k)[0], ...windows.pixel(place, element(k).slice(1))])}.`);
  };

  const showPixel = ([, c, y, x_]) => {
    const copies = windows.copies([y, x_]);
    picture.light([[[0, c, y, x_], "exact"]]);
    cells.light(copies.map(([[oy, ox], [i, j]]) => [(oy * width + ox) * cell, (c * rows * columns + i * columns + j) * cell, cell, cell, "exact"]));
    result?.light(null);
    byPixel.value = first.strides.slice(1).reduce((sum, stride, axis) => sum + stride * [c, y, x_][axis], 0);
    words.textContent = `${described(first, [0, c, y, x_])} lies in ${copies.length} window${copies.length === 1 ? "" : "s"}: ` +
      `it was copied ${copies.length} times, and its gradient is the sum of what comes back to ${copies.length === 1 ? "it" : "all of them"}.`;
  };

  const slider = (last, show) => {
    const input = make("input", { type: "range", min: 0, max: last, value: 0 });
    input.addEventListener("input", () => { show(Number(input.value)); input.setAttribute("aria-valuetext", words.textContent); });
    return input;
  };
  const byColumn = slider(height * width - 1, (p) => showColumn(p, null));
  const byPixel = slider(first.flat.length - 1, (position) =>
    showPixel(first.strides.map((stride, axis) => Math.floor(position / stride) % first.shown[axis])));
  byColumn.classList.add("by-column");
  byPixel.classList.add("by-pixel");

  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    const [p, k] = [Math.floor((event.clientX - box.left) / cell), Math.floor((event.clientY - box.top) / cell)];
    if (p >= 0 && p < height * width && k >= 0 && k < total) showColumn(p, k);
  };
  matrix.addEventListener("pointermove", point);
  matrix.addEventListener("pointerdown", point);
  picture.onpoint = showPixel;

  const view = make("div", { class: "columns" },
    make("div", { class: "side" }, make("h4", {}, `Picture, ${sizes(window_.picture.slice(1))}`), picture,
      make("label", {}, "Pixel", byPixel)),
    make("div", { class: "side" }, make("h4", {}, `Columns, ${all} x ${height * width}`),
      make("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "The columns" }, matrix),
      make("p", { class: "legend" }, make("span", { class: "padding" }), "padding",
        total < all ? `; rows of channels 0 to ${channels - 1} of ${window_.picture[1]}` : ""),
      make("label", {}, "Column", byColumn)),
    words);
  showColumn(Math.floor(height / 2) * width + Math.floor(width / 2), null);
  return view;
}

/** One dot for each number of the columns. */
function paint(canvas, windows, x, element, outputPixel) {
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(canvas.width, canvas.height);
  const [, , pictureHeight, pictureWidth] = x.encoded.shape;
  for (let k = 0; k < canvas.height; k++) {
    const [c, i, j] = element(k);
    for (let p = 0; p < canvas.width; p++) {
      const [row, column] = windows.pixel(outputPixel(p), [i, j]);
      const number = x.at([0, c, row, column]);
      const padding = row < 0 || column < 0 || row >= pictureHeight || column >= pictureWidth;
      const colour = number === undefined ? [128, 128, 128] : colourOf(number, x.largest);
      image.data.set([...colour, number === undefined && !padding ? 0 : 255], 4 * (k * canvas.width + p));
    }
  }
  pen.putImageData(image, 0, 0);
}

function described(x, index) {
  const number = x.at(index);
  const [, , height, width] = x.encoded.shape;
  const outside = index[2] < 0 || index[3] < 0 || index[2] >= height || index[3] >= width;
  if (outside) return "0, of the padding";
  return `x[${index.join(", ")}]${number === undefined ? " (not shown)" : ` ≈ ${written(number)}`}`;
}
