"""The document's networks in PyTorch, eager or compiled, with fused Adam."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nn
from ..models import GenerativeModel

__all__ = ["make"]


def make(model: GenerativeModel, threads: int, compiled: bool) -> Callable[..., float]:
    """`model.train_step` in PyTorch."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    if compiled:  # after eight variants of one function, of whatever networks, it would go on without compiling
        torch.compiler.reset()
    step = (_gan if model.kind == "gan" else _vae)(torch, model, torch.compile if compiled else lambda part: part)

    def train_step(images: np.ndarray, noise: list[np.ndarray] | None = None) -> float:
        drawn = None if noise is None else [torch.tensor(array) for array in noise]
        first, second = step(torch.from_numpy(images), drawn)
        return float(first.item() + second.item())

    return train_step


def _copied(torch: Any, layers: list[Any]) -> Any:
    """The same layers with the same weights."""
    made = []
    for layer in layers:
        if isinstance(layer, nn.Dense):
            linear = torch.nn.Linear(*layer.weight.shape)
            assert layer.bias is not None
            linear.weight.data = torch.tensor(layer.weight.numpy().T.copy())
            linear.bias.data = torch.tensor(layer.bias.numpy().copy())
            made.append(linear)
        elif isinstance(layer, nn.LeakyReLU):
            made.append(torch.nn.LeakyReLU(layer.slope))
        elif isinstance(layer, nn.Tanh):
            made.append(torch.nn.Tanh())
        else:
            raise TypeError(f"no peer for {layer}")
    return torch.nn.Sequential(*made)


# What is compiled is each loss with its networks, as far as one backward pass goes: a step with two of them is more
# than torch.compile takes as a whole.
Compile = Callable[[Any], Any]


def _gan(torch: Any, model: Any, compiled: Compile) -> Callable[..., Any]:
    generator, discriminator = (_copied(torch, net.layers) for net in (model.generator, model.discriminator))
    config, softplus = model.config, torch.nn.functional.softplus
    g_optimizer, d_optimizer = (torch.optim.Adam(net.parameters(), config.lr, (config.beta1, 0.999), fused=True)
                                for net in (generator, discriminator))

    draw = compiled(generator)
    judge = compiled(lambda real, fake: softplus(-discriminator(real)).mean() + softplus(discriminator(fake)).mean())
    fool = compiled(lambda fake: softplus(-discriminator(fake)).mean())

    def step(images: Any, noise: Any) -> tuple[Any, Any]:
        real = images.reshape(len(images), -1).float() / 127.5 - 1
        fake = draw(torch.randn(max(len(real), 2), config.latent) if noise is None else noise[0])
        d_loss = judge(real, fake.detach())
        d_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()
        discriminator.requires_grad_(False)
        g_loss = fool(fake)
        g_optimizer.zero_grad()
        g_loss.backward()
        g_optimizer.step()
        discriminator.requires_grad_(True)
        return d_loss.detach(), g_loss.detach()

    return step


def _vae(torch: Any, model: Any, compiled: Compile) -> Callable[..., Any]:
    encoder, mu_of, log_var_of, decoder = (_copied(torch, layers) for layers in (
        model.encoder.layers, [model.mu], [model.log_var], model.decoder.layers))
    gaussian = model.config.likelihood == "gaussian"
    pixel_log_var = torch.nn.Parameter(torch.zeros(1, 1))
    parameters = [p for part in (encoder, mu_of, log_var_of, decoder) for p in part.parameters()]
    optimizer = torch.optim.Adam([*parameters, *([pixel_log_var] if gaussian else [])], model.config.lr, fused=True)
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits

    @compiled
    def losses(x: Any, noise: Any) -> tuple[Any, Any]:
        h = encoder(x)
        mu, log_var = mu_of(h), log_var_of(h)
        output = decoder(mu + torch.exp(log_var * 0.5) * (torch.randn_like(mu) if noise is None else noise))
        if gaussian:
            scaled = (output - x) ** 2 * torch.exp(-pixel_log_var) + pixel_log_var
            reconstruction = 0.5 * (scaled + math.log(2 * math.pi)).sum() / len(x)
        else:
            reconstruction = cross_entropy(output, x, reduction="sum") / len(x)
        return reconstruction, 0.5 * (mu * mu + log_var.exp() - log_var - 1).sum() / len(x)

    def step(images: Any, noise: Any) -> tuple[Any, Any]:
        unit = images.reshape(len(images), -1).float() / 255
        if gaussian:
            x = unit * 2 - 1
        else:
            x = torch.bernoulli(unit) if noise is None else (noise[0] < unit).float()
        reconstruction, kl = losses(x, None if noise is None else noise[-1])
        optimizer.zero_grad()
        (reconstruction + kl).backward()
        optimizer.step()
        return reconstruction.detach(), kl.detach()

    return step
