"use strict";
// The steps in order: the tape forward, node by node, then backward from the loss. Keys, buttons and announcements.

const by = (id) => document.getElementById(id);
const LAST = 2 * nodes.length - 1;
let step = 0;
const isBackward = (at = step) => at >= nodes.length;
const nodeAt = (at = step) => (isBackward(at) ? LAST - at : at);
const overview = new Overview(nodes, tensors, by("tape"), goToNode);

function go(to) {
  const reading = by("detail").contains(document.activeElement);
  step = Math.max(0, Math.min(LAST, to));
  render();
  if (reading) by("detail").querySelector("h2").focus({ preventScroll: true }); // the focused element is gone
  by("announcement").textContent = announcement();
}

/** Go to the step of a node in the current direction. */
function goToNode(number) {
  go(isBackward() ? LAST - number : number);
}

function whereIs(at) {
  const [phase, count] = isBackward(at) ? ["Backward", at - nodes.length + 1] : ["Forward", at + 1];
  return `${phase} ${count} of ${nodes.length}`;
}

/** What a screen reader says at each step. */
function announcement() {
  const node = nodes[nodeAt()];
  const what = `${whereIs(step)}: ${node.name}, ${node.kind}, ${sizes(node.shape)}.`;
  if (!isBackward()) return what;
  if (node.gradient === null) return `${what} It gets no gradient.`;
  const norm = `The norm of its gradient is ${written(normOf(node.gradient), 7)}.`;
  if (node.arrivals.length < 2) return `${what} ${norm}`;
  const parts = node.arrivals.map(({ consumer, input, role }) =>
    `${role || nodes[consumer].name} with norm ${written(normOf(nodes[consumer].inputs[input].gradient))}`);
  return `${what} ${norm} ${parts.length} gradients are added up: ${parts.join(", ")}.`;
}

function render() {
  const [number, backward] = [nodeAt(), isBackward()];
  const node = nodes[number];
  Object.assign(document.body.dataset, { step, node: number, phase: backward ? "backward" : "forward" });
  by("goto").value = step;
  by("first").disabled = by("previous").disabled = step === 0;
  by("next").disabled = by("last").disabled = step === LAST;
  overview.show(number, backward);
  const turn = make("button", { type: "button", class: "turn", "aria-keyshortcuts": "T" },
    backward ? "Go to its forward step" : "Go to its backward step");
  turn.addEventListener("click", () => go(LAST - step));
  const options = Object.entries(node.options ?? {}).map(([name, value]) => `${name} ${value}`);
  by("detail").replaceChildren(
    make("p", { class: "where" }, make("span", { class: "phase" }, whereIs(step)), turn),
    make("h2", { tabindex: -1 }, node.name, " ", make("span", { class: "kind" }, node.kind)),
    ...(options.length ? [make("p", { class: "options" }, options.join(", "))] : []),
    ...(backward ? backwardStep(node, number) : forwardStep(node)),
  );
}

/** Keys move between the steps, except in sliders, lists and areas that scroll sideways, which use them themselves. */
function onKey(event) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.target.closest?.("input, select, pre, .scroll[tabindex]")) return;
  const to = { ArrowRight: step + 1, ArrowLeft: step - 1, Home: 0, End: LAST, t: LAST - step }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  go(to);
}

for (const [label, start] of [["Forward", 0], ["Backward", nodes.length]]) {
  const steps = nodes.map((_, i) => start + i);
  by("goto").append(make("optgroup", { label },
    ...steps.map((at) => make("option", { value: at }, `${whereIs(at)}: ${nodes[nodeAt(at)].name}`))));
}
by("goto").addEventListener("change", (event) => go(Number(event.target.value)));
by("first").addEventListener("click", () => go(0));
by("previous").addEventListener("click", () => go(step - 1));
by("next").addEventListener("click", () => go(step + 1));
by("last").addEventListener("click", () => go(LAST));
document.addEventListener("keydown", onKey);
inTheDark.addEventListener("change", render);
let widthBefore = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth !== widthBefore) render();
  widthBefore = window.innerWidth;
});
document.title = title;
go(0);
