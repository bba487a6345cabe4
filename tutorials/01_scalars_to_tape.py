# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1. From scalars to a tape
#
# How does a framework know the derivative of a program? It records what you compute while you compute it, and then
# walks back through the record. You will build this for plain numbers in about sixty lines. The last figure shows
# **your tape beside minires's, with the same gradient on each edge**.
#
# Each section follows the pattern *predict, run, check*. `check` tells you what is wrong with an answer. The solutions
# are collapsed: click one to open it.

# %%
import math
from collections import Counter

import matplotlib.pyplot as plt

import minires as mr
from minires.course.tutorials import check

# %% [markdown]
# ## A number that remembers
#
# A `Value` holds a number, its *parents* (the numbers it was computed from), and how fast it changes with each of them:
# the local *slopes*. An operator computes the value and the slopes at the same time. Nothing is planned beforehand:
# running the program *defines* the tape, hence the name *define-by-run*.


# %%
class Value:
    """A number that remembers which numbers it was computed from."""

    def __init__(self, data, parents=(), slopes=(), name=""):
        self.data = data
        self.parents = parents
        self.slopes = slopes  # d(self)/d(parent), one for each parent
        self.name = name
        self.grad = 0.0  # d(result)/d(self), after the walk back

    def __add__(self, other):
        return Value(self.data + other.data, (self, other), (1.0, 1.0), "+")

    def __mul__(self, other):
        return Value(self.data * other.data, (self, other), (other.data, self.data), "*")

    def __repr__(self):
        return f"{self.name} = {self.data:g}"


# %% [markdown]
# **Predict 1.1.** How many different `Value`s does `y = x * x + x` consist of, including y and x?

# %%
answer = None
### BEGIN SOLUTION
### END SOLUTION
check("1.1", answer)

# %%
x = Value(3.0, name="x")
y = x * x + x
print("y:", y, "  its parents:", y.parents)
print("the first parent's parents:", y.parents[0].parents)

# %% [markdown]
# <details><summary>Solution 1.1</summary>
#
# ```python
# answer = 3
# ```
#
# x, the product, and the sum. </details>
#
# ## The chain rule, path by path
#
# The derivative of y with respect to x is a sum over all *paths* from y down to x; each path contributes the product of
# the slopes along it. To compute it, walk down from y. Carry the product so far, called the *upstream*, with you, and
# add it to the gradient of each node that you reach.
#
# **Predict 1.2.** What is dy/dx of `y = x * x + x` at x = 3?

# %%
answer = None
### BEGIN SOLUTION
### END SOLUTION
check("1.2", answer)

# %%
visits = Counter()


def walk_every_path(node, upstream=1.0):
    visits[node.name] += 1
    node.grad += upstream
    for parent, slope in zip(node.parents, node.slopes, strict=True):
        walk_every_path(parent, upstream * slope)


walk_every_path(y)
print(f"dy/dx = {x.grad:g}, visits: {dict(visits)}")

# %% [markdown]
# <details><summary>Solution 1.2</summary>
#
# ```python
# answer = 3 + 3 + 1
# ```
#
# There are three paths: through the product's first factor, through its second factor, and straight from the sum.
# </details>
#
# A function such as `tanh`, which has no operator in Python, creates a node in just the same way. **Exercise 1.3.**
# Give `tanh` its slope. The derivative of tanh a is 1 - tanh² a.


# %%
def tanh(a):
    result = math.tanh(a.data)
    slopes = ()
    ### BEGIN SOLUTION
    ### END SOLUTION
    return Value(result, (a,), slopes, "tanh")


check("1.3", lambda number: tanh(Value(number)))

# %% [markdown]
# <details><summary>Solution 1.3</summary>
#
# ```python
#     slopes = (1 - result**2,)
# ```
#
# The slope reuses the result: many slopes are cheap to compute once the value is known. </details>
#
# ## Each node once
#
# Start with `y = x`, and repeat `y = y + y` ten times. This makes only eleven numbers.
#
# **Predict 1.4.** How many times does `walk_every_path` arrive at x?

# %%
answer = None
### BEGIN SOLUTION
### END SOLUTION
check("1.4", answer)


# %%
def ladder(rungs):
    bottom = top = Value(1.0, name="x")
    for _ in range(rungs):
        top = top + top
    return bottom, top


for rungs in (1, 2, 5, 10, 15):
    visits.clear()
    walk_every_path(ladder(rungs)[1])
    print(f"{rungs:2} rungs: {visits['x']:6} visits to x")

# %% [markdown]
# <details><summary>Solution 1.4</summary>
#
# ```python
# answer = 2**10
# ```
#
# </details>
#
# This is correct, but hopelessly slow. The remedy is to let a node pass on its gradient only after *all* of its
# consumers have contributed to it. Then one visit is enough. To ensure this, put the nodes in an order in which each
# comes after its parents, and go through them in reverse.


# %%
def in_order(result):
    """Return all nodes below ``result``, each one after its parents."""
    order, seen = [], set()

    def visit(node):
        if node not in seen:
            seen.add(node)
            for parent in node.parents:
                visit(parent)
            order.append(node)

    visit(result)
    return order


def backward(result):
    for node in in_order(result):
        node.grad = 0.0
    result.grad = 1.0
    for node in reversed(in_order(result)):
        for parent, slope in zip(node.parents, node.slopes, strict=True):
            parent.grad += node.grad * slope


x, y = ladder(50)
backward(y)
print(f"50 rungs: dy/dx = {x.grad:g} in {len(in_order(y))} visits")

# %% [markdown]
# You should immediately see 1.1259e+15, which is 2⁵⁰.
#
# ## Break it on purpose
#
# It is easy to write `=` instead of the `+=` above. Many programs, namely those that use every number only once, would
# still give the right gradients.
#
# **Predict 1.5.** With `=`, what is x.grad for `y = x * x + x` at x = 3?

# %%
answer = None
### BEGIN SOLUTION
### END SOLUTION
check("1.5", answer)


# %%
def backward_with_a_bug(result):
    result.grad = 1.0
    for node in reversed(in_order(result)):
        for parent, slope in zip(node.parents, node.slopes, strict=True):
            parent.grad = node.grad * slope  # the bug


x = Value(3.0, name="x")
y = x * x + x
backward_with_a_bug(y)
wrong = x.grad
backward(y)
step = 1e-6
x_up, x_down = Value(3.0 + step), Value(3.0 - step)
difference = ((x_up * x_up + x_up).data - (x_down * x_down + x_down).data) / (2 * step)
print(f"with =: {wrong:g}   with +=: {x.grad:g}   by differences: {difference:.6f}")

# %% [markdown]
# <details><summary>Solution 1.5</summary>
#
# ```python
# answer = 3
# ```
#
# The sum contributes 1, and then the product contributes 3 twice; each contribution overwrites the one before.
# </details>
#
# The last number printed above needs no tape: it comes from changing x a little. This is slow but reliable, so backward
# passes are tested against it.
#
# ## The same in minires
#
# A tensor knows the op that made it (`y.op`), and an op knows where its inputs came from (`op.edges`). That is the
# whole tape.

# %%
x = mr.tensor(2.0, requires_grad=True)
p = x * x
q = p + x
y = p * q
print("y was made by", y.op, "from", y.op.edges)
print("q was made by", q.op, "from", q.op.edges)

# %% [markdown]
# There is one difference. With n inputs and m outputs, the slopes would form a matrix of n·m numbers, most of which are
# zero or repeated. So an op does not store slopes. Instead, it has a method, `backward`, that takes the upstream and
# returns the product of the upstream and the slopes.
#
# **Exercise 1.6.** Write `backward` for the cube. It receives the upstream, a tensor with the shape of the output.


# %%
class Cube(mr.Op):
    def forward(self, x):
        return x**3

    def backward(self, upstream):
        ### BEGIN SOLUTION
        ### END SOLUTION
        pass


check("1.6", Cube)

# %% [markdown]
# <details><summary>Solution 1.6</summary>
#
# ```python
#         (x,) = self.inputs
#         return upstream * 3 * x**2
# ```
#
# Leave out `upstream` and see what `check` says: the gradient is then right only if this op is the last one. </details>
#
# ## The tape, twice
#
# On the left are your `Value`s, and the products that your `backward` sent along each edge. On the right is the same
# program in minires; `mr.explain.step` reads its tape.

# %%
a = Value(2.0, name="x")
b = a * a
c = b + a
d = b * c
b.name, c.name, d.name = "p", "q", "y"
backward(d)
yours = [
    (parent.name, node.name, node.grad * slope)
    for node in in_order(d)
    for parent, slope in zip(node.parents, node.slopes, strict=True)
]
stepper = mr.explain.step(y, names={"x": x, "p": p, "q": q, "y": y})
nodes = stepper.tape.nodes
ours = [(nodes[edge.node].name, node.name, edge.gradient.item()) for node in nodes for edge in node.inputs]
print("the same edges, with the same gradients:", sorted(yours) == sorted(ours))


# %%
def draw(axes, edges, gradients, title):
    places = {"x": (0, 0), "p": (1, 1), "q": (2, 0), "y": (3, 1)}
    drawn = Counter()
    for parent, node, gradient in edges:
        (x0, y0), (x1, y1) = places[parent], places[node]
        twice = edges.count((parent, node, gradient)) > 1
        bend = (0.25 if drawn[parent, node] else -0.25) if twice else 0
        drawn[parent, node] += 1
        style = {"arrowstyle": "-|>", "color": "#888888", "connectionstyle": f"arc3,rad={bend}"}
        axes.annotate("", (x0, y0), (x1, y1), arrowprops={**style, "shrinkA": 18, "shrinkB": 18}, zorder=1)
        where = ((x0 + x1) / 2 + bend / 2 * (y0 - y1), (y0 + y1) / 2 + bend / 2 * (x1 - x0))
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(*where, f"{gradient:g}", color="#c05000", ha="center", va="center", bbox=box, zorder=2)
    for name, place in places.items():
        axes.plot(*place, "o", markersize=34, color="#dbe8f6", markeredgecolor="#1f5fa8")
        axes.text(*place, f"{name}\n{gradients[name]:g}", ha="center", va="center")
    axes.set(title=title, xlim=(-0.4, 3.4), ylim=(-0.4, 1.4), aspect="equal")
    axes.axis("off")


figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.8), layout="constrained")
draw(left, yours, {node.name: node.grad for node in in_order(d)}, "the gradients of your backward")
draw(right, ours, {node.name: node.gradient.item() for node in nodes}, "the gradients of minires")
plt.show()

# %% [markdown]
# You should see the same figure twice. Each circle shows the gradient of a number: the sum over the arrows that end
# there. Three arrows end at x: two from the two factors of p, and one from q.
#
# Below is the stepper: the arrow keys take you forward, and then backward, through the same tape. Where a second
# gradient arrives, it shows the `+=`. (The notebook must be trusted; if your viewer does not display iframes, run
# `minires explain step`.)

# %%
stepper

# %% [markdown]
# ## What you have
#
# An op records its inputs and its derivative; backward goes through the record once, consumers first, and *adds*. In
# minires, `core/autograd.py` is these sixty lines, extended to tensors, with memory management and error messages
# added. Next, tutorial 4 takes a closer look at one op.
