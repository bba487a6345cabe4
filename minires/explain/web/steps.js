"use strict";
// What a step shows: the value of a node and its inputs, or its gradient and where that is sent.

const { title, nodes, tensors, sources } = JSON.parse(document.getElementById("data").textContent);
const normOf = (number) => Number(tensors[number].stats.norm);
const valueOf = (input) => (input.node === null ? input.value : nodes[input.node].value);

const section = (heading, ...children) => make("section", {}, make("h3", {}, heading), ...children);
const cards = (children) => make("div", { class: "cards" }, ...children);
const quiet = (text) => make("p", { class: "quiet" }, text);
const operator = (adds) => make("span", { class: adds ? "operator adds" : "operator" }, adds ? "+=" : "=");
const roleOf = (role) => (role ? make("span", { class: "role" }, role) : null);

function folded(summary, content) {
  return make("details", {}, make("summary", {}, summary), content);
}

function forwardStep(node) {
  const value = tensorView(node.value, `Value of ${node.name}`);
  const heading = node.kind === "leaf" ? "A leaf: the tape begins here" : "Value";
  const parts = [section(heading, value ?? freed(node), ...readersOf(node)), ...joinOf(node)];
  if (node.inputs.length) parts.push(section("Inputs", cards(node.inputs.map(inputCard))));
  if (node.window) parts.push(columnsOf(node, value));
  return [...parts, ...textbookOf(node, "forward")];
}

function backwardStep(node, number) {
  if (node.gradient === null) {
    return [section("No gradient", quiet("The ops that read this node send no gradient back."))];
  }
  const norm = normOf(node.gradient);
  const parts = [section(
    `Gradient: ∂${nodes.at(-1).name}/∂${node.name}`,
    make("p", { class: "norm" }, "norm ", make("strong", { id: "gradient-norm" }, written(norm, 7))),
    arrivalsOf(node, number),
    tensorView(node.gradient, `Gradient of ${node.name}`),
  )];
  if (node.inputs.length) parts.push(section("Gradients sent to the inputs", cards(node.inputs.map(sentCard))));
  const value = tensorView(node.value, `Value of ${node.name}`);
  if (value) parts.push(folded("Value, from the forward pass", value));
  return [...parts, ...textbookOf(node, "backward")];
}

/** The ops that read a node. If there are several, its gradient is a sum. */
function readersOf(node) {
  if (!node.arrivals.length) return [];
  const readers = node.arrivals.toReversed().flatMap(({ consumer, input }, i) =>
    [i > 0 ? ", " : "", nodeLink(consumer), ` (its ${nodes[consumer].inputs[input].name})`]);
  return [make("p", { class: "quiet" }, "Read by ", ...readers, ".")];
}

/** Where the paths of a residual block meet: the norms of F and of the shortcut, if both values are known. */
function joinOf(node) {
  const paths = ["F", "shortcut"].map((role) => node.inputs.find((input) => input.role === role));
  if (paths.some((input) => input === undefined || valueOf(input) === null)) return [];
  const norms = paths.map((input) => [input.role, normOf(valueOf(input))]);
  const what = make("p", {}, "The residual branch F and the shortcut are added here.");
  return [section("Two paths meet", what, bars(norms))];
}

/** How the gradient of a node was computed: the first gradient that arrives sets it, and each further one is added. */
function arrivalsOf(node, number) {
  if (number === nodes.length - 1) {
    return make("p", {}, "Backward begins here: the derivative of a number with respect to itself is 1.");
  }
  const arrivals = node.arrivals.map(({ consumer, input, role }) => {
    const edge = nodes[consumer].inputs[input];
    return { consumer, role, input: edge.name, norm: normOf(edge.gradient) };
  });
  const list = make("ol", { class: "arrivals" }, ...arrivals.map(({ consumer, role, input, norm }, i) => make("li", {},
    operator(i > 0), " from ", nodeLink(consumer), ` (its ${input})`, roleOf(role), ` norm ${written(norm)}`)));
  if (arrivals.length < 2) return list;
  const why = arrivals.some(({ role }) => role)
    ? "Two paths start here, so two gradients come back, and += adds them:"
    : `It was used ${arrivals.length} times, so ${arrivals.length} gradients come back, and += adds them:`;
  const norms = arrivals.map(({ consumer, role, input, norm }) => [role || `${nodes[consumer].name} (${input})`, norm]);
  return make("div", { class: "join" }, make("p", {}, why), list, bars(norms));
}

function inputCard(input) {
  const constant = input.node === null;
  return make("div", { class: "card" },
    make("h4", {}, input.name, roleOf(input.role)),
    make("p", {}, constant ? input.label || "a constant" : nodeLink(input.node),
      ` ${sizes(input.shape)}${constant ? ", needs no gradient" : ""}`),
    tensorView(valueOf(input), `Value of ${input.name}`, true) ?? quiet("Not kept, because no backward reads it."));
}

function sentCard(input) {
  const heading = make("h4", {}, `to ${input.name}`, roleOf(input.role));
  if (input.node === null) {
    return make("div", { class: "card" }, heading, quiet(`${input.label || "A constant"}: needs no gradient.`));
  }
  if (input.gradient === null) return make("div", { class: "card" }, heading, quiet("No gradient."));
  const does = input.adds ? " is added to the gradient of " : " sets the gradient of ";
  const unbroadcast = input.summed_from === null ? null : make("p", { class: "unbroadcast" },
    `Un-broadcast: ${sizes(input.summed_from)} summed to ${sizes(input.shape)}. `,
    "The forward pass used each number in several places, so their gradients are added.");
  return make("div", { class: "card" }, heading,
    make("p", {}, operator(input.adds), does, nodeLink(input.node), ` ${sizes(input.shape)}`),
    unbroadcast, tensorView(input.gradient, `Gradient to ${input.name}`, true));
}

function nodeLink(number) {
  const link = make("button", { type: "button", class: "link" }, nodes[number].name);
  link.addEventListener("click", () => goToNode(number));
  return link;
}

function freed(node) {
  return make("div", {}, make("p", { class: "shape" }, `${sizes(node.shape)} ${node.dtype}`),
    quiet("Its numbers were freed after the forward pass, because no backward reads them."));
}

function columnsOf(node, value) {
  const number = valueOf(node.inputs[0]);
  if (number === null) return section("im2col", quiet("The numbers of the image were not kept."));
  const filters = Array.from({ length: node.shape[1] }, (_, o) => o);
  const lightResult = value?.map && node.kind === "conv2d"
    ? (place) => value.map.light(place === null ? [] : filters.map((o) => [[0, o, ...place], "exact"]))
    : () => {};
  const about = node.kind === "conv2d"
    ? "The convolution is the product of the weight, a row for each filter, with these columns."
    : "In the array, each of them is a row along the last axis.";
  return section("im2col", make("p", {}, `Each column is the window that one output pixel sees. ${about}`),
    columnsView(node.window, numbersOf(number), roomFor(560), lightResult));
}

/** The source of a node's op: the part for this direction is open, the other one is folded. */
function textbookOf(node, direction) {
  if (node.source === undefined) return [];
  const order = direction === "forward" ? ["forward", "backward"] : ["backward", "forward"];
  return order.map((name) => {
    const { place, text } = sources[node.source][name];
    const details = folded(`The textbook's ${name}, ${place}`, make("pre", { tabindex: 0 }, make("code", {}, text)));
    details.open = name === direction;
    return details;
  });
}

/** Shape, statistics and heat map of a tensor; null if its numbers are not known. */
function tensorView(number, description, small = false) {
  if (number === null) return null;
  const { shape, dtype, shown, stats, exact } = tensors[number];
  const statistics = statisticsOf(stats, shape);
  const heading = small ? null : make("p", { class: "shape" }, `${sizes(shape)} ${dtype}`);
  const element = make("div", { class: "tensor" }, heading, make("p", { class: "stats" }, statistics));
  if (shape.includes(0)) return element;
  if (shown.some((size, axis) => size < shape[axis])) {
    const part = shown.map((size) => `:${size}`).join(", ");
    const words = `Too large to show in full: this is [${part}]. The statistics are of the whole tensor.`;
    element.append(make("p", { class: "cut" }, words));
  }
  if (shape.length === 0) {
    element.append(make("p", { class: "scalar" }, written(exact[0], 7)));
  } else {
    const spoken = `${description}, heat map of ${sizes(shape)}: ${statistics}`;
    element.map = heatMap(numbersOf(number), roomFor(small ? 228 : 620), spoken);
    element.append(element.map);
  }
  return element;
}

const unpacked = new Map(); // the numbers of tensors that were shown before

function numbersOf(number) {
  if (!unpacked.has(number)) unpacked.set(number, new Numbers(tensors[number]));
  return unpacked.get(number);
}

/** How many pixels wide something may be. A frame that is not visible yet has width 0. */
const roomFor = (wanted) => Math.min(wanted, Math.max(200, document.documentElement.clientWidth - 60));

function statisticsOf(stats, shape) {
  const count = shape.reduce((a, b) => a * b, 1);
  if (count === 0) return "empty";
  const parts = [`norm ${written(stats.norm)}`];
  if (count > 1) {
    const known = ["mean", "std", "min", "max"].filter((name) => stats[name] !== null);
    parts.push(...known.map((name) => `${name} ${written(stats[name])}`));
    if (stats.zeros > 0) parts.push(`${Math.round((100 * stats.zeros) / count)} % zeros`);
  }
  if (stats.not_finite > 0) parts.push(`${stats.not_finite} not finite`);
  return parts.join(", ");
}

/** Norms side by side: `bars([["F", 0.5], ...])`. */
function bars(rows) {
  const largest = Math.max(...rows.map(([, norm]) => norm).filter(Number.isFinite), 0);
  return make("div", { class: "bars" }, ...rows.map(([label, norm]) => {
    const share = largest > 0 && Number.isFinite(norm) ? (100 * norm) / largest : 0;
    return make("div", { class: "row" },
      make("span", {}, label),
      make("span", { class: "track" }, make("span", { class: "fill", style: `width: ${share}%` })),
      make("span", { class: "figure" }, written(norm)));
  }));
}
