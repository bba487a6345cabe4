"use strict";
// The tape as a picture: a row for each node in forward order, leaves on the left, shortcuts as arcs on the right.

const ROW = 34;
const BOX = 24;
const LANES = { leaf: [4, 148], op: [168, 140], shortcut: [200, 140] }; // left edge and width
const RIGHT = 380;
const CHARACTER = 6.7;

const laneOf = (node) => LANES[node.kind === "leaf" ? "leaf" : node.on_shortcut ? "shortcut" : "op"];
const middle = (number) => number * ROW + ROW / 2 + 4;

/** Text that fits into a box: the end of a path tells more than its beginning. */
function shortened(name, characters) {
  if (name.length <= characters) return name;
  return name.includes(".") ? `…${name.slice(1 - characters)}` : `${name.slice(0, characters - 1)}…`;
}

class Overview {
  constructor(nodes, tensors, container, choose) {
    this.nodes = nodes;
    this.container = container;
    const height = nodes.length * ROW + 8;
    const svg = makeSvg("svg", { width: RIGHT, height, viewBox: `0 0 ${RIGHT} ${height}`, role: "img",
      "aria-label": `${nodes.length} nodes, from ${nodes[0].name} to ${nodes.at(-1).name}. Use the list of steps to go to one.` });
    const arrow = makeSvg("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8,
      markerUnits: "userSpaceOnUse", orient: "auto-start-reverse" });
    arrow.append(makeSvg("path", { d: "M0,0 L8,4 L0,8 z" }));
    svg.append(arrow);
    this.edges = nodes.flatMap((node, consumer) => node.inputs
      .map((input, place) => ({ input, place, consumer, producer: input.node }))
      .filter((edge) => edge.producer !== null));
    const norms = this.edges.map(({ input }) => (input.gradient === null ? 0 : Number(tensors[input.gradient].stats.norm)));
    const largest = Math.max(...norms.filter(Number.isFinite), 0);
    for (const [i, edge] of this.edges.entries()) {
      edge.width = 1.2 + (largest > 0 && norms[i] > 0 ? 3.3 * Math.max(0, 1 + Math.log10(norms[i] / largest) / 4) : 0);
      edge.path = makeSvg("path", { d: this.route(edge), class: "edge" });
      edge.path.append(makeSvg("title", {}, `${nodes[edge.producer].name} to ${nodes[edge.consumer].name} as ${edge.input.name}` +
        (edge.input.gradient === null ? "" : `; gradient back, norm ${written(norms[i])}`)));
      svg.append(edge.path);
    }
    this.boxes = nodes.map((node, number) => this.box(node, number, choose));
    svg.append(...this.boxes);
    this.badges = new Map(this.edges.filter(({ input }) => input.adds).map((edge) => [edge, this.badge(edge.producer)]));
    svg.append(...this.badges.values());
    container.replaceChildren(svg);
  }

  box(node, number, choose) {
    const [left, width] = laneOf(node);
    const group = makeSvg("g", { class: `node ${node.kind === "leaf" ? "leaf" : "op"}` });
    group.append(
      makeSvg("title", {}, `${node.name} (${node.kind}), ${sizes(node.shape)}`),
      makeSvg("rect", { x: left, y: middle(number) - BOX / 2, width, height: BOX, rx: node.kind === "leaf" ? 12 : 5 }),
      makeSvg("text", { x: left + width / 2, y: middle(number) + 4 }, shortened(node.name, Math.floor((width - 6) / CHARACTER))),
    );
    group.addEventListener("click", () => choose(number));
    return group;
  }

  badge(number) {
    const [left, width] = laneOf(this.nodes[number]);
    const group = makeSvg("g", { class: "badge" });
    const [x, y] = [left + width - 3, middle(number) - BOX / 2 + 2];
    group.append(makeSvg("rect", { x: x - 13, y: y - 8, width: 26, height: 16, rx: 8 }), makeSvg("text", { x, y: y + 4 }, "+="));
    return group;
  }

  route({ producer, consumer }) {
    const [from, to] = [laneOf(this.nodes[producer]), laneOf(this.nodes[consumer])];
    const [start, end] = [middle(producer), middle(consumer)];
    if (this.nodes[producer].kind === "leaf") {
      const x = from[0] + from[1];
      return `M${x},${start} C${x + 16},${start} ${x + 4},${end} ${to[0]},${end}`;
    }
    const between = this.nodes.slice(producer + 1, consumer).some((node) => node.kind !== "leaf");
    if (!between) {
      const [x, y] = [from[0] + from[1] / 2, to[0] + to[1] / 2];
      return `M${x},${start + BOX / 2} L${y},${end - BOX / 2}`;
    }
    const [x, y] = [from[0] + from[1], to[0] + to[1]];
    const bulge = Math.min(RIGHT - 4, Math.max(x, y) + 16 + 10 * Math.log2(consumer - producer));
    return `M${x},${start} C${bulge},${start + 10} ${bulge},${end - 10} ${y},${end}`;
  }

  /** Show the state at a step: what is done is drawn in full, what comes later is faint. */
  show(number, backward) {
    this.boxes.forEach((box, i) => {
      box.classList.toggle("present", i === number);
      box.classList.toggle("later", backward ? i < number : i > number);
      box.classList.toggle("backward", backward && i >= number);
    });
    for (const edge of this.edges) {
      const done = backward ? edge.consumer >= number : edge.consumer <= number;
      const active = edge.consumer === number;
      const flowed = backward && done && edge.input.gradient !== null;
      edge.path.setAttribute("class", ["edge", done ? "" : "later", active ? "active" : "", flowed ? "backward" : ""].join(" "));
      edge.path.style.strokeWidth = flowed ? edge.width : "";
      edge.path.setAttribute(backward ? "marker-start" : "marker-end", active && (flowed || !backward) ? "url(#arrow)" : "");
      edge.path.removeAttribute(backward ? "marker-end" : "marker-start");
      this.badges.get(edge)?.classList.toggle("shown", flowed);
    }
    const target = middle(number) - this.container.clientHeight / 2;
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.container.scrollTo({ top: target, behavior: still ? "auto" : "smooth" });
  }
}
