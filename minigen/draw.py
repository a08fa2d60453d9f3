"""Pictures of a graph: Graphviz dot text, and a PNG through matplotlib."""

from __future__ import annotations

import math
import os
from pathlib import Path

from .autograd import Node
from .errors import DTypeError, GraphError, OutputError
from .tensor import Tensor

__all__ = ["draw", "render"]

LARGEST_PICTURE = 300

Edges = list[tuple[int, int]]
Labels = dict[int, tuple[str, bool]]  # text, and whether it is an operation
Place = int | tuple[int, int, int]  # a node, or where an edge (from, to) crosses a layer
Point = tuple[float, float]


def draw(y: Tensor, path: str | os.PathLike[str] | None = None) -> str:
    """The graph that made `y`, as Graphviz dot text; with `path`, also as a PNG there.

    Boxes are operations, ellipses leaves, each with its shape. Raises GraphError for a tensor without a graph, and
    for a picture of a graph that is too large for one.
    """
    if not isinstance(y, Tensor):
        raise DTypeError(f"draw: expected a Tensor, got {type(y).__name__}")
    return render(*_collect(y), path)


def render(labels: Labels, edges: Edges, path: str | os.PathLike[str] | None = None) -> str:
    """A graph as dot text and, with `path`, as a PNG: numbered labels in topological order, and the edges."""
    if path is not None:
        if len(labels) > LARGEST_PICTURE:
            raise GraphError(f"a picture of {len(labels)} nodes would be no help, {LARGEST_PICTURE} are the limit: "
                             "draw a smaller graph, or give the dot text to Graphviz")
        try:
            _picture(labels, edges, Path(path))
        except OSError as error:
            raise OutputError(f"{path}: the picture cannot be written ({error.strerror}); name another file") from None
        except ValueError as error:
            raise OutputError(f"{path}: not the name of a picture ({error}); name a .png") from None
    lines = [f'  n{key} [label="{text}", shape={"box" if is_op else "ellipse"}];'.replace("\n", "\\n")
             for key, (text, is_op) in labels.items()]
    lines += [f"  n{a} -> n{b};" for a, b in edges]
    return "digraph {\n  rankdir=BT;\n" + "\n".join(lines) + "\n}\n"


def _collect(y: Tensor) -> tuple[Labels, Edges]:
    """Numbered labels and the edges between them, inputs before what is made of them."""
    if y._node is None:
        raise GraphError("this tensor has no graph to draw: it is a leaf, or was computed inside mg.no_grad()")
    nodes: dict[int, Node] = {}
    stack = [y._node]
    while stack:
        node = stack.pop()
        if id(node) not in nodes:
            nodes[id(node)] = node
            stack.extend(t._node for t in node.inputs or () if isinstance(t, Tensor) and t._node is not None)
    ordered = sorted(nodes.values(), key=lambda node: node.sequence)
    labels: Labels = {}
    edges: Edges = []
    number: dict[int, int] = {}
    for node in ordered:
        sources = []
        for value in node.inputs or ():
            key = id(value if not isinstance(value, Tensor) or value._node is None else value._node)
            if key not in number or not isinstance(value, Tensor):  # Python shares equal numbers: a leaf for each use
                number[key] = len(labels)
                labels[number[key]] = (_leaf_label(value), False)
            sources.append(number[key])
        number[id(node)] = len(labels)
        labels[number[id(node)]] = (f"{node.op.name}\n{_shape(node.output)}", True)
        edges += [(source, number[id(node)]) for source in sources]
    return labels, edges


def _leaf_label(value: object) -> str:
    if not isinstance(value, Tensor):
        return repr(value)
    kind = "leaf" if value.requires_grad else "constant"
    return f"{kind}\n{value.shape}"


def _shape(array: object) -> str:
    return "freed" if array is None else str(getattr(array, "shape", ""))


def _picture(labels: Labels, edges: Edges, path: Path) -> None:
    """Lay the graph out in layers by depth and save it."""
    from matplotlib.figure import Figure

    position, routes = _layout(labels, edges)
    xs = [x for route in routes for x, _ in route]
    width = 1 + max(xs) - min(xs)
    height = 1 + max(y for _, y in position.values())
    figure = Figure(figsize=(1.0 + 1.5 * width, 0.6 + 0.9 * height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for *bends, last in routes:
        axes.plot(*zip(*bends, strict=True), color="0.45", linewidth=1, solid_joinstyle="round", zorder=1)
        axes.annotate("", last, bends[-1], zorder=1, arrowprops={
            "arrowstyle": "->", "color": "0.45", "shrinkA": 0, "shrinkB": 17})
    for key, (text, is_op) in labels.items():
        style = "round,pad=0.35" if is_op else "round4,pad=0.35"
        axes.text(*position[key], text, ha="center", va="center", fontsize=8,
                  bbox={"boxstyle": style, "facecolor": "#dbe9f6" if is_op else "#f3ead3", "edgecolor": "0.4"})
    axes.set_xlim(min(xs) - 0.7, max(xs) + 0.7)
    axes.set_ylim(-0.6, height - 0.4)
    figure.savefig(path, dpi=120)


def _layout(labels: Labels, edges: Edges) -> tuple[dict[int, Point], list[list[Point]]]:
    """Where each node stands, and the points that each edge runs through, so that it passes beside other nodes.

    Layers by depth, the longest way from a leaf, with leaves right under their first user; a place in every
    layer between for an edge that crosses it; and within a layer the order of the places below (Sugiyama,
    Tagawa & Toda 1981).
    """
    sources: dict[int, list[int]] = {key: [] for key in labels}
    users: dict[int, list[int]] = {key: [] for key in labels}
    for a, b in edges:
        sources[b].append(a)
        users[a].append(b)
    depth: dict[int, int] = {}
    for key in labels:  # numbered in topological order
        depth[key] = 1 + max((depth[s] for s in sources[key]), default=-1)
    for key in labels:
        if not sources[key] and users[key]:
            depth[key] = min(depth[u] for u in users[key]) - 1
    layers: list[list[Place]] = [[] for _ in range(1 + max(depth.values()))]
    below: dict[Place, list[Place]] = {key: [] for key in labels}
    routes: list[list[Place]] = []
    for key, d in depth.items():
        layers[d].append(key)
    for a, b in dict.fromkeys(edges):
        between = [(a, b, d) for d in range(depth[a] + 1, depth[b])]
        for crossing in between:
            layers[crossing[2]].append(crossing)
        route: list[Place] = [a, *between, b]
        for lower, upper in zip(route, route[1:], strict=False):
            below.setdefault(upper, []).append(lower)
        routes.append(route)
    x: dict[Place, float] = {}
    for layer in layers:
        wish = {place: sum(x[p] for p in below[place]) / len(below[place]) for place in layer if below[place]}
        layer.sort(key=lambda place: wish.get(place, math.inf))
        for i, place in enumerate(layer):
            left = x[layer[i - 1]] + 1 if i else wish.get(place, 0.0)
            x[place] = max(left, wish.get(place, left))
        shift = sum(wish[place] - x[place] for place in wish) / max(len(wish), 1)
        x.update((place, x[place] + shift) for place in layer)
    height = {place: float(d) for d, layer in enumerate(layers) for place in layer}
    return ({key: (x[key], height[key]) for key in labels},
            [[(x[place], height[place]) for place in route] for route in routes])
