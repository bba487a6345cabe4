"use strict";
// The steps: the tape forward, node by node, then backward from the loss.

const { title, nodes, tensors, sources } = JSON.parse(document.getElementById("data").textContent);
const by = (id) => document.getElementById(id);
const tensor = (number) => (number === null ? null : tensors[number]);
const normOf = (number) => Number(tensor(number).stats.norm);
const unpacked = new Map();
const numbersOf = (number) => {
  if (!unpacked.has(number)) unpacked.set(number, new Numbers(tensors[number]));
  return unpacked.get(number);
};

const LAST = 2 * nodes.length - 1;
let step = 0;
const isBackward = (at = step) => at >= nodes.length;
const nodeAt = (at = step) => (isBackward(at) ? LAST - at : at);
const overview = new Overview(nodes, tensors, by("tape"), (number) => go(isBackward() ? LAST - number : number));

function go(to) {
  const reading = by("detail").contains(document.activeElement);
  step = Math.max(0, Math.min(LAST, to));
  render();
  if (reading) by("detail").querySelector("h2").focus({ preventScroll: true }); // what had the focus is gone
  by("announcement").textContent = announcement();
}

function whereAmI(at = step) {
  const [phase, count] = isBackward(at) ? ["Backward", at - nodes.length + 1] : ["Forward", at + 1];
  return `${phase} ${count} of ${nodes.length}`;
}

function announcement() {
  const node = nodes[nodeAt()];
  const what = `${whereAmI()}: ${node.name}, ${node.kind}, ${sizes(node.shape)}.`;
  if (!isBackward()) return what;
  if (node.gradient === null) return `${what} No gradient arrives.`;
  const sum = node.arrivals.length > 1 ? ` ${node.arrivals.length} gradients are added up: ${node.arrivals.map(spoken).join(", ")}.` : "";
  return `${what} The norm of its gradient is ${written(normOf(node.gradient), 7)}.${sum}`;
}

const spoken = ({ consumer, input, role }) =>
  `${role || nodes[consumer].name} with norm ${written(normOf(nodes[consumer].inputs[input].gradient))}`;

function render() {
  const [number, backward] = [nodeAt(), isBackward()];
  const node = nodes[number];
  document.body.dataset.step = step;
  document.body.dataset.phase = backward ? "backward" : "forward";
  document.body.dataset.node = number;
  by("goto").value = step;
  by("first").disabled = by("previous").disabled = step === 0;
  by("next").disabled = by("last").disabled = step === LAST;
  overview.show(number, backward);
  const turn = make("button", { type: "button", class: "turn", "aria-keyshortcuts": "T" },
    backward ? "its forward step" : "its backward step");
  turn.addEventListener("click", () => go(LAST - step));
  by("detail").replaceChildren(
    make("p", { class: "where" }, make("span", { class: "phase" }, whereAmI()), turn),
    make("h2", { tabindex: -1 }, node.name, " ", make("span", { class: "kind" }, node.kind)),
    ...optionsOf(node),
    ...(backward ? backwardStep(node, number) : forwardStep(node)),
  );
}

function optionsOf(node) {
  const options = Object.entries(node.options ?? {}).map(([name, value]) => `${name} ${value}`);
  return options.length ? [make("p", { class: "options" }, options.join(", "))] : [];
}

function forwardStep(node) {
  const value = tensorView(node.value, `Value of ${node.name}`);
  const heading = node.kind === "leaf" ? "A leaf: the tape begins here" : "Its value";
  const parts = [section(heading, value ?? freed(node), ...readersOf(node))];
  const [branch, shortcut] = ["F", "shortcut"].map((role) => node.inputs.find((input) => input.role === role));
  if (branch && shortcut) {
    const norms = [["F", valueOf(branch)], ["shortcut", valueOf(shortcut)]].filter(([, number]) => number !== null);
    if (norms.length === 2) {
      parts.push(section("Two paths meet", make("p", {}, "The join adds the residual branch F and the shortcut."),
        bars(norms.map(([label, number]) => [label, normOf(number)]))));
    }
  }
  if (node.inputs.length) parts.push(section("It reads", cards(node.inputs.map(inputCard))));
  if (node.window) parts.push(columnsOf(node, value));
  parts.push(...sourceOf(node, "forward"));
  return parts;
}

/** The ops that read a node: where there are several, its gradient will be a sum. */
function readersOf(node) {
  if (!node.arrivals.length) return [];
  const readers = [...node.arrivals].reverse().flatMap(({ consumer, input }, i) =>
    [i > 0 ? ", " : "", nodeLink(consumer), ` (its ${nodes[consumer].inputs[input].name})`]);
  return [make("p", { class: "quiet" }, "Read by ", ...readers, ".")];
}

function backwardStep(node, number) {
  if (node.gradient === null) {
    return [section("No gradient arrives", make("p", {}, "What uses this node sends nothing back to it."))];
  }
  const norm = make("output", { id: "gradient-norm", "data-value": normOf(node.gradient) }, written(normOf(node.gradient), 7));
  const parts = [section(`The gradient that has arrived: ∂${nodes.at(-1).name}/∂${node.name}`,
    make("p", { class: "norm" }, "norm ", norm), arrivalsOf(node, number), tensorView(node.gradient, `Gradient of ${node.name}`))];
  if (node.inputs.length) parts.push(section("It sends on", cards(node.inputs.map((input) => sentCard(input)))));
  const value = tensorView(node.value, `Value of ${node.name}`);
  if (value) parts.push(folded("Its value, from the forward pass", value));
  parts.push(...sourceOf(node, "backward"));
  return parts;
}

/** How the gradient of a node came together: the first one sets it, each further one is added. */
function arrivalsOf(node, number) {
  if (number === nodes.length - 1) return make("p", {}, "Backward begins here: a number changes as fast as itself, by 1.");
  const rows = node.arrivals.map(({ consumer, input, role }, i) => {
    const sender = nodes[consumer];
    return make("li", { class: i > 0 ? "event adds" : "event" },
      make("span", { class: "operator" }, i > 0 ? "+=" : "="), " from ", nodeLink(consumer), ` (its ${sender.inputs[input].name})`,
      role ? make("span", { class: "role" }, role) : null, ` norm ${written(normOf(sender.inputs[input].gradient))}`);
  });
  const list = make("ol", { class: "arrivals" }, ...rows);
  if (rows.length < 2) return list;
  const lengths = node.arrivals.map(({ consumer, input, role }) =>
    [role || nodes[consumer].name, normOf(nodes[consumer].inputs[input].gradient)]);
  const paths = node.arrivals.some(({ role }) => role);
  return make("div", { class: "join" },
    make("p", {}, paths ? "Two paths parted here, so two gradients come back, and += adds them:"
      : `It was used ${rows.length} times, so ${rows.length} gradients come back, and += adds them:`), list, bars(lengths));
}

/** Norms side by side, as bars. */
function bars(rows) {
  const largest = Math.max(...rows.map(([, norm]) => norm).filter(Number.isFinite), 0);
  return make("div", { class: "bars" }, ...rows.map(([label, norm]) => make("div", { class: "row" },
    make("span", {}, label),
    make("span", { class: "track" }, make("span", { class: "fill", style: `width: ${largest > 0 ? (100 * norm) / largest : 0}%` })),
    make("span", { class: "figure" }, written(norm)))));
}

const valueOf = (input) => (input.node === null ? input.value : nodes[input.node].value);

function inputCard(input) {
  const number = valueOf(input);
  const from = input.node === null ? input.label || "a constant" : nodeLink(input.node);
  return make("div", { class: "card" },
    make("h4", {}, input.name, input.role ? make("span", { class: "role" }, input.role) : null),
    make("p", {}, from, ` ${sizes(input.shape)}`, input.node === null ? ", no gradient wanted" : ""),
    tensorView(number, `Value of ${input.name}`, true) ?? make("p", { class: "quiet" }, "Not kept: no backward reads it."));
}

function sentCard(input) {
  const heading = make("h4", {}, `to ${input.name}`, input.role ? make("span", { class: "role" }, input.role) : null);
  if (input.node === null) {
    return make("div", { class: "card" }, heading, make("p", { class: "quiet" }, `${input.label || "A constant"}: no gradient is wanted.`));
  }
  if (input.gradient === null) return make("div", { class: "card" }, heading, make("p", { class: "quiet" }, "Nothing."));
  const operator = make("span", { class: input.adds ? "operator adds" : "operator" }, input.adds ? "+=" : "=");
  const summed = input.summed_from === null ? null : make("p", { class: "unbroadcast" },
    `Un-broadcast: ${sizes(input.summed_from)} summed to ${sizes(input.shape)}. Forward used each number in several places, `
    + "so their gradients add up.");
  return make("div", { class: "card" }, heading,
    make("p", {}, operator, input.adds ? " is added to the gradient of " : " sets the gradient of ", nodeLink(input.node), ` ${sizes(input.shape)}`),
    summed, tensorView(input.gradient, `Gradient to ${input.name}`, true));
}

function nodeLink(number) {
  const link = make("button", { type: "button", class: "link" }, nodes[number].name);
  link.addEventListener("click", () => go(isBackward() ? LAST - number : number));
  return link;
}

function freed(node) {
  return make("p", { class: "quiet" }, `${sizes(node.shape)}. Its numbers were freed after the forward pass, because no backward reads them.`);
}

/** How many pixels wide something may be. A frame that is not visible yet has no width at all. */
const roomFor = (wanted) => Math.min(wanted, Math.max(200, document.documentElement.clientWidth - 60));

/** Shape, statistics and heat map; null if there are no numbers. */
function tensorView(number, description, small = false) {
  if (number === null) return null;
  const { shape, dtype, shown, stats, exact } = tensor(number);
  const statistics = statisticsOf(stats, shape);
  const room = roomFor(small ? 228 : 620);
  const element = make("div", { class: "tensor" }, small ? null : make("p", { class: "shape" }, `${sizes(shape)} ${dtype}`),
    make("p", { class: "stats" }, statistics));
  if (shape.includes(0)) return element;
  if (shown.some((size, axis) => size < shape[axis])) {
    element.append(make("p", { class: "cut" }, `Too large for a page: shown is [${shown.map((size) => `:${size}`).join(", ")}]; statistics are of all.`));
  }
  if (shape.length === 0) {
    element.append(make("p", { class: "scalar" }, written(exact[0], 7)));
  } else {
    element.map = heatMap(numbersOf(number), room, `${description}, heat map of ${sizes(shape)}: ${statistics}`);
    element.append(element.map);
  }
  return element;
}

function statisticsOf(stats, shape) {
  const count = shape.reduce((a, b) => a * b, 1);
  if (count === 0) return "empty";
  const parts = [`norm ${written(stats.norm)}`];
  if (stats.min !== null && count > 1) {
    parts.push(`mean ${written(stats.mean)}`, `std ${written(stats.std)}`, `min ${written(stats.min)}`, `max ${written(stats.max)}`);
  }
  if (stats.zeros > 0 && count > 1) parts.push(`${Math.round((100 * stats.zeros) / count)} % zeros`);
  if (stats.not_finite > 0) parts.push(`${stats.not_finite} not finite`);
  return parts.join(", ");
}

function columnsOf(node, value) {
  const number = valueOf(node.inputs[0]);
  if (number === null) return section("im2col", make("p", { class: "quiet" }, "The picture was not kept."));
  const room = roomFor(560);
  const result = value?.map && node.kind === "conv2d"
    ? { light: (place) => value.map.light(place === null ? [] : Array.from({ length: node.shape[1] }, (_, o) => [[0, o, ...place], "exact"])) }
    : null;
  const view = columnsView(node.window, numbersOf(number), room, result);
  const about = node.kind === "conv2d"
    ? "Each column is the window that one output pixel sees. The convolution is the product of the weight, a row for each filter, with these columns."
    : "Each column is the window that one output pixel sees; in the array it is a row, along the last axis.";
  return section("im2col", make("p", {}, about), view);
}

/** The source of a node's op: the direction of the step is open, the other one folded. */
function sourceOf(node, direction) {
  if (node.source === undefined) return [];
  const order = direction === "forward" ? ["forward", "backward"] : ["backward", "forward"];
  return order.map((name) => {
    const { place, text } = sources[node.source][name];
    const details = folded(`The textbook's ${name}, ${place}`, make("pre", { tabindex: 0 }, make("code", {}, text)));
    details.open = name === direction;
    return details;
  });
}

const section = (heading, ...children) => make("section", {}, make("h3", {}, heading), ...children);
const cards = (children) => make("div", { class: "cards" }, ...children);
const folded = (summary, ...children) => make("details", {}, make("summary", {}, summary), ...children);

/** Keys step wherever they mean nothing else: a slider, a list, and what scrolls sideways keep their own. */
function key(event) {
  const scrolls = event.target.closest?.("pre, .scroll[tabindex]");
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || scrolls || event.target.matches?.("input, select")) return;
  const to = { ArrowRight: step + 1, ArrowLeft: step - 1, Home: 0, End: LAST, t: LAST - step, T: LAST - step }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  go(to);
}

for (const [label, start] of [["Forward", 0], ["Backward", nodes.length]]) {
  const group = make("optgroup", { label });
  for (let at = start; at < start + nodes.length; at++) {
    group.append(make("option", { value: at }, `${whereAmI(at)}: ${nodes[nodeAt(at)].name}`));
  }
  by("goto").append(group);
}
by("goto").addEventListener("change", (event) => go(Number(event.target.value)));
by("first").addEventListener("click", () => go(0));
by("previous").addEventListener("click", () => go(step - 1));
by("next").addEventListener("click", () => go(step + 1));
by("last").addEventListener("click", () => go(LAST));
document.addEventListener("keydown", key);
inTheDark.addEventListener("change", render);
let widthBefore = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth !== widthBefore) render();
  widthBefore = window.innerWidth;
});
document.title = title;
go(0);
