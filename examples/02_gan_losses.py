"""Why the minimax generator starves: both generator losses, and their gradients, over the discriminator's logit.

Early in training the discriminator is sure that a sample G(z) is fake: its logit l is far below zero. There

    minimax         L = log(1 - D) = -softplus(l),    dL/dl = -sigmoid(l)   -> 0    nothing left to learn from
    non-saturating  L = -log D     =  softplus(-l),   dL/dl = -sigmoid(-l)  -> -1   a full push upwards

Both push in the same direction; the second rests only where the generator has already won.

Run: python examples/02_gan_losses.py     (writes runs/examples/gan_losses.png)
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import minigen as mg

LABELS = {"minimax": "minimax: log(1 - D)", "non_saturating": "non-saturating: -log D"}


def curve(form: str, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The loss of each logit, and its gradient, by the engine."""
    values, slopes = [], []
    for logit in logits:
        l = mg.tensor([logit], requires_grad=True, dtype="float64")  # noqa: E741 - the equation's letter
        loss = mg.losses.gan.generator_loss(l, form=form)
        loss.backward()
        values.append(loss.item())
        slopes.append(l.grad.item())
    return np.array(values), np.array(slopes)


def plot(logits: np.ndarray, curves: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """Losses on the left, gradients on the right."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for form, (values, slopes) in curves.items():
        left.plot(logits, values, label=LABELS[form])
        right.plot(logits, slopes, label=LABELS[form])
    left.set(xlabel="logit of D on a fake", ylabel="loss (nats)", title="what the generator minimises")
    right.set(xlabel="logit of D on a fake", ylabel="d loss / d logit", title="what it learns from")
    right.axvspan(logits[0], -3, color="0.92")
    right.text((logits[0] - 3) / 2, -0.5, "D is sure:\nearly training", ha="center", va="center", fontsize=9)
    left.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer points")
    parser.add_argument("--out", type=Path, default=Path("runs/examples"), help="folder for the picture")
    args = parser.parse_args()

    logits = np.linspace(-8, 8, 17 if args.quick else 161)
    curves = {form: curve(form, logits) for form in LABELS}
    plot(logits, curves, args.out / "gan_losses.png")

    sigmoid = 1 / (1 + np.exp(-logits))
    assert np.allclose(curves["minimax"][1], -sigmoid) and np.allclose(curves["non_saturating"][1], sigmoid - 1)
    print("logit   D(G(z))   minimax gradient   non-saturating gradient")
    for i in range(0, len(logits), len(logits) // 8):
        print(f"{logits[i]:5.1f}  {sigmoid[i]:8.4f}   {curves['minimax'][1][i]:16.4f}   "
              f"{curves['non_saturating'][1][i]:23.4f}")
    ratio = curves["non_saturating"][1][0] / curves["minimax"][1][0]
    print(f"\nAt logit {logits[0]:.0f} the non-saturating gradient is {ratio:.0f} times the minimax one.")
    print(f"Picture: {args.out / 'gan_losses.png'}")
    assert ratio > 1000


if __name__ == "__main__":
    main()
