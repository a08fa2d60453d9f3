"""One gradient three times: on paper, by the engine, and from finite differences.

The net is y = tanh(x W1) W2 and the loss L = 1/2 |y - t|^2. On paper, with h = tanh(x W1) and e = y - t:

    dL/dW2 = h^T e                                  (y is linear in W2)
    dL/dh  = e W2^T
    dL/dW1 = x^T [dL/dh * (1 - h^2)]                (tanh' = 1 - tanh^2)

Run: python examples/01_gradient_by_hand.py
"""

import argparse

import numpy as np

import minigen as mg


def loss(w1: mg.Tensor, w2: mg.Tensor, x: mg.Tensor, t: mg.Tensor) -> mg.Tensor:
    """L = 1/2 sum (tanh(x W1) W2 - t)^2."""
    error = mg.tanh(x @ w1) @ w2 - t
    return 0.5 * (error * error).sum()


def by_hand(w1: np.ndarray, w2: np.ndarray, x: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The three lines of the docstring."""
    h = np.tanh(x @ w1)
    error = h @ w2 - t
    d_h = error @ w2.T
    return x.T @ (d_h * (1 - h**2)), h.T @ error


def by_differences(w1: np.ndarray, w2: np.ndarray, x: np.ndarray, t: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """dL/dW1, one entry at a time: (L(w + step) - L(w - step)) / (2 step)."""
    slopes = np.zeros_like(w1)
    for place in np.ndindex(*w1.shape):
        values = []
        for sign in (1, -1):
            moved = w1.copy()
            moved[place] += sign * step
            values.append(0.5 * ((np.tanh(x @ moved) @ w2 - t) ** 2).sum())
        slopes[place] = (values[0] - values[1]) / (2 * step)
    return slopes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller net")
    width = 3 if parser.parse_args().quick else 8

    rng = mg.Generator(seed=1)
    w1, w2 = rng.normal((4, width), "float64").numpy(), rng.normal((width, 2), "float64").numpy()
    x, t = rng.normal((5, 4), "float64").numpy(), rng.normal((5, 2), "float64").numpy()

    hand_w1, hand_w2 = by_hand(w1, w2, x, t)

    leaves = [mg.tensor(w, requires_grad=True, dtype="float64") for w in (w1, w2)]
    inputs = [mg.tensor(a, dtype="float64") for a in (x, t)]
    value = loss(*leaves, *inputs)
    print(mg.draw(value))  # the graph that backward will walk, as Graphviz dot
    value.backward()
    engine_w1, engine_w2 = (leaf.grad.numpy() for leaf in leaves)

    numeric_w1 = by_differences(w1, w2, x, t)

    print("dL/dW1, first row")
    for name, gradient in (("paper", hand_w1), ("engine", engine_w1), ("differences", numeric_w1)):
        print(f"  {name:<12}", np.array2string(gradient[0], precision=6))
    print(f"largest |paper - engine|      {np.abs(hand_w1 - engine_w1).max():.1e}  (rounding)")
    print(f"largest |paper - differences| {np.abs(hand_w1 - numeric_w1).max():.1e}  (rounding and step^2)")

    # The tool that does the same for any function, second derivatives included:
    worst = mg.gradcheck(lambda a, b: loss(a, b, *inputs), w1, w2, order=2)
    print(f"mg.gradcheck to second order: largest relative error {worst:.1e}")

    assert np.allclose(hand_w1, engine_w1, rtol=1e-12) and np.allclose(hand_w2, engine_w2, rtol=1e-12)
    assert np.allclose(hand_w1, numeric_w1, rtol=1e-6, atol=1e-8)


if __name__ == "__main__":
    main()
