"""draw: the graph as dot text and as a picture."""

import re

import numpy as np
import pytest
from matplotlib.image import imread

import minigen as mg
from minigen import ops
from minigen.errors import GraphError, OutputError


@pytest.fixture
def network():
    """A hidden layer whose weight is used twice."""
    x, w = mg.tensor(np.ones((2, 3))), mg.tensor(np.ones((3, 3)), requires_grad=True)
    return ops.tanh(ops.tanh(x @ w) @ w * 2.0).sum()


def parsed(dot):
    """labels by node name, and edges, both as lists"""
    nodes = dict(re.findall(r'  (n\d+) \[label="(.*?)", shape=(?:box|ellipse)\];', dot))
    return nodes, re.findall(r"  (n\d+) -> (n\d+);", dot)


def test_every_operation_and_leaf_is_a_node_with_its_shape(network):
    nodes, edges = parsed(mg.draw(network))
    assert sorted(nodes.values()) == sorted([
        "constant\\n(2, 3)", "leaf\\n(3, 3)", "matmul\\n(2, 3)", "tanh\\n(2, 3)", "matmul\\n(2, 3)", "2.0",
        "mul\\n(2, 3)", "tanh\\n(2, 3)", "sum\\n()"])
    assert len(edges) == 9


def test_a_leaf_used_twice_is_one_node_with_two_edges(network):
    nodes, edges = parsed(mg.draw(network))
    (leaf,) = [name for name, label in nodes.items() if label.startswith("leaf")]
    users = [nodes[b] for a, b in edges if a == leaf]
    assert users == ["matmul\\n(2, 3)"] * 2


def test_edges_run_from_inputs_to_results(network):
    nodes, edges = parsed(mg.draw(network))
    assert all(int(a[1:]) < int(b[1:]) for a, b in edges), "numbered in the order of computation"
    (last,) = set(nodes) - {a for a, _ in edges}
    assert nodes[last] == "sum\\n()"


def test_operations_are_boxes_and_leaves_ellipses(network):
    dot = mg.draw(network)
    assert dot.startswith("digraph {\n  rankdir=BT;\n")
    assert dot.endswith("}\n")
    assert len(re.findall("shape=box", dot)) == 6
    assert len(re.findall("shape=ellipse", dot)) == 3
    assert dot.count("{") == dot.count("}") == 1


def test_a_square_draws_two_edges_from_one_leaf():
    x = mg.tensor([1.0], requires_grad=True)
    _, edges = parsed(mg.draw(x * x))
    assert edges == [("n0", "n1"), ("n0", "n1")]


def test_a_tensor_without_a_graph_cannot_be_drawn():
    with pytest.raises(GraphError, match="no graph to draw"):
        mg.draw(mg.tensor(1.0))
    with mg.no_grad(), pytest.raises(GraphError, match="no_grad"):
        mg.draw(mg.tensor(1.0, requires_grad=True) * 2)


def test_a_freed_graph_still_shows_its_last_operation():
    x = mg.tensor([1.0], requires_grad=True)
    y = ops.exp(x).sum()
    y.backward()
    nodes, _ = parsed(mg.draw(y))
    assert list(nodes.values()) == ["sum\\nfreed"]


def test_a_graph_of_ten_thousand_operations_is_drawn_as_text():
    y = mg.tensor(1.0, requires_grad=True)
    for _ in range(10_000):
        y = y + 1.0
    assert mg.draw(y).count(" -> ") == 20_000


def test_the_picture_is_written_and_not_blank(network, tmp_path):
    path = tmp_path / "graph.png"
    dot = mg.draw(network, path)
    assert dot == mg.draw(network)
    pixels = imread(path)[..., :3]
    assert 0.01 < (pixels.min(axis=-1) < 0.9).mean() < 0.6
    assert min(pixels.shape[:2]) > 200


def test_a_graph_too_large_for_a_picture_is_refused_before_any_work(tmp_path):
    y = mg.tensor(1.0, requires_grad=True)
    for _ in range(200):
        y = y + 1.0
    with pytest.raises(GraphError, match="a picture of 401 nodes would be no help, 300 are the limit.*Graphviz"):
        mg.draw(y, tmp_path / "graph.png")
    assert not (tmp_path / "graph.png").exists()
    assert mg.draw(y)


def test_a_number_used_twice_is_a_leaf_each_time():
    x = mg.tensor([1.0], requires_grad=True)
    nodes, _ = parsed(mg.draw((x + 1.0) * 1.0))
    assert list(nodes.values()).count("1.0") == 2


def test_no_two_nodes_of_the_picture_stand_in_one_place(network):
    from minigen.draw import _collect, _layout

    labels, edges = _collect(network)
    position, routes = _layout(labels, edges)
    assert set(position) == set(labels)
    assert len(set(position.values())) == len(labels)
    assert all(position[a][1] < position[b][1] for a, b in edges), "inputs stand below what is made of them"
    for (start, *bends, end), (a, b) in zip(routes, dict.fromkeys(edges), strict=True):
        assert (start, end) == (position[a], position[b])
        assert not set(bends) & set(position.values()), "an edge passes beside the nodes between"


def test_drawing_leaves_the_global_matplotlib_state_alone(network, tmp_path):
    import sys

    loaded = "matplotlib.pyplot" in sys.modules
    mg.draw(network, tmp_path / "graph.png")
    assert ("matplotlib.pyplot" in sys.modules) == loaded


def test_a_picture_that_cannot_be_written_says_so(tmp_path):
    x = mg.tensor([1.0], requires_grad=True)
    with pytest.raises(OutputError, match="the picture cannot be written"):
        mg.draw(x * 2, tmp_path / "missing" / "graph.png")
