"use strict";
// The tape drawn as a graph: a row for each node in forward order, leaves on the left, shortcuts as arcs on the right.

const ROW = 34;
const BOX = 24;
const LANES = { leaf: [4, 148], op: [168, 140], shortcut: [248, 128] }; // left edge and width
const RIGHT = 408;
const CHARACTER = 6.7;

const laneOf = (node) => LANES[node.kind === "leaf" ? "leaf" : node.on_shortcut ? "shortcut" : "op"];
const middle = (number) => number * ROW + ROW / 2 + 4;

/** A name cut to fit into a box. Of a path, the end is kept, which says more than the beginning. */
function shortened(name, characters) {
  if (name.length <= characters) return name;
  return name.includes(".") ? `…${name.slice(1 - characters)}` : `${name.slice(0, characters - 1)}…`;
}

/** The width of a line grows with its gradient: from 1.2 to 4.5 pixels, over four powers of ten. */
function widthOf(norm, largest) {
  return 1.2 + (norm > 0 && largest > 0 ? 3.3 * Math.max(0, 1 + Math.log10(norm / largest) / 4) : 0);
}

function arrow() {
  const marker = makeSvg("marker", {
    id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8,
    markerUnits: "userSpaceOnUse", orient: "auto-start-reverse",
  });
  marker.append(makeSvg("path", { d: "M0,0 L8,4 L0,8 z" }));
  return marker;
}

class Overview {
  constructor(nodes, tensors, container, choose) {
    this.nodes = nodes;
    this.container = container;
    const height = nodes.length * ROW + 8;
    const label = `${nodes.length} nodes, ${nodes[0].name} to ${nodes.at(-1).name}; the list of steps goes to each.`;
    const viewBox = `0 0 ${RIGHT} ${height}`;
    const svg = makeSvg("svg", { width: RIGHT, height, viewBox, role: "img", "aria-label": label });
    svg.append(arrow());
    this.edges = nodes.flatMap((node, consumer) => node.inputs
      .filter((input) => input.node !== null).map((input) => ({ input, consumer, producer: input.node })));
    const norms = this.edges.map(({ input }) => Number(tensors[input.gradient]?.stats.norm ?? 0));
    const largest = Math.max(...norms.filter(Number.isFinite), 0);
    for (const [i, edge] of this.edges.entries()) {
      edge.width = widthOf(norms[i], largest);
      edge.path = makeSvg("path", { d: this.route(edge), class: "edge" });
      const way = `${nodes[edge.producer].name} to ${nodes[edge.consumer].name} as ${edge.input.name}`;
      const back = edge.input.gradient === null ? "" : `; gradient back, norm ${written(norms[i])}`;
      edge.path.append(makeSvg("title", {}, way + back));
      svg.append(edge.path);
    }
    this.boxes = nodes.map((node, number) => this.box(node, number, choose));
    svg.append(...this.boxes);
    const added = this.edges.filter(({ input }) => input.adds);
    this.badges = new Map(added.map((edge) => [edge, this.badge(edge.producer)]));
    svg.append(...this.badges.values());
    container.replaceChildren(svg);
  }

  box(node, number, choose) {
    const [left, width] = laneOf(node);
    const leaf = node.kind === "leaf";
    const group = makeSvg("g", { class: leaf ? "node leaf" : "node" });
    const label = shortened(node.name, Math.floor((width - 6) / CHARACTER));
    group.append(
      makeSvg("title", {}, `${node.name} (${node.kind}), ${sizes(node.shape)}`),
      makeSvg("rect", { x: left, y: middle(number) - BOX / 2, width, height: BOX, rx: leaf ? 12 : 5 }),
      makeSvg("text", { x: left + width / 2, y: middle(number) + 4 }, label),
    );
    group.addEventListener("click", () => choose(number));
    return group;
  }

  badge(number) {
    const [left, width] = laneOf(this.nodes[number]);
    const group = makeSvg("g", { class: "badge" });
    const [x, y] = [left + width - 3, middle(number) - BOX / 2 + 2];
    const pill = makeSvg("rect", { x: x - 13, y: y - 8, width: 26, height: 16, rx: 8 });
    group.append(pill, makeSvg("text", { x, y: y + 4 }, "+="));
    return group;
  }

  route({ producer, consumer }) {
    const [from, to] = [laneOf(this.nodes[producer]), laneOf(this.nodes[consumer])];
    const [start, end] = [middle(producer), middle(consumer)];
    if (this.nodes[producer].kind === "leaf") {
      const x = from[0] + from[1];
      return `M${x},${start} C${x + 16},${start} ${x + 4},${end} ${to[0]},${end}`;
    }
    const between = this.nodes.slice(producer + 1, consumer).filter((node) => node.kind !== "leaf");
    const [x, y] = [from[0] + from[1] / 2, to[0] + to[1] / 2];
    if (!between.some((node) => laneOf(node) === from || laneOf(node) === to) || between.length === 0) {
      return `M${x},${start + BOX / 2} L${y},${end - BOX / 2}`; // nothing is in the way
    }
    const right = from[0] + from[1];
    if (from === LANES.op && to === LANES.shortcut) {
      return `M${right},${start} C${y},${start} ${y},${start + 8} ${y},${start + 30} L${y},${end - BOX / 2}`;
    }
    const bulge = Math.min(RIGHT - 4, right + 16 + 10 * Math.log2(consumer - producer));
    return `M${right},${start} C${bulge},${start + 10} ${bulge},${end - 10} ${to[0] + to[1]},${end}`;
  }

  /** Show the state at a step: finished nodes are drawn in full, later ones are faint. */
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
      const { classList, style } = edge.path;
      classList.toggle("later", !done);
      classList.toggle("active", active);
      classList.toggle("backward", flowed);
      style.strokeWidth = flowed ? edge.width : "";
      style.markerEnd = active && !backward ? "url(#arrow)" : "";
      style.markerStart = active && flowed ? "url(#arrow)" : "";
      this.badges.get(edge)?.classList.toggle("shown", flowed);
    }
    const target = middle(number) - this.container.clientHeight / 2;
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.container.scrollTo({ top: target, behavior: still ? "auto" : "smooth" });
  }
}
