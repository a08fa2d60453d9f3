"""The document's networks in JAX, Adam by Optax: one jitted function of (state, batch), given back its own memory."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nn
from ..models import GenerativeModel

__all__ = ["make"]


def make(model: GenerativeModel, threads: int, compiled: bool) -> Callable[..., float]:
    """`model.train_step` in JAX, always jitted. How many threads XLA has is settled when JAX is first imported."""
    eigen = "true" if threads > 1 else "false"
    os.environ.setdefault("XLA_FLAGS", f"--xla_cpu_multi_thread_eigen={eigen} intra_op_parallelism_threads={threads}")
    jax = importlib.import_module("jax")
    state, step = (_gan if model.kind == "gan" else _vae)(jax, model)
    run = jax.jit(step, donate_argnums=0)
    key = jax.random.key(0)

    def train_step(images: np.ndarray, noise: list[np.ndarray] | None = None) -> float:
        nonlocal state, key
        state, key, first, second = run(state, key, images, noise)
        return float(first) + float(second)

    return train_step


def _dense(jax: Any, layers: list[Any]) -> list[Any]:
    dense = [layer for layer in layers if isinstance(layer, nn.Dense)]
    return [(jax.numpy.array(d.weight.numpy()), jax.numpy.array(d.bias.numpy())) for d in dense if d.bias is not None]


def _through(layers: Any, x: Any, activation: Callable[..., Any], last: Callable[..., Any] | None = None) -> Any:
    for weight, bias in layers[:-1]:
        x = activation(x @ weight + bias)
    y = x @ layers[-1][0] + layers[-1][1]
    return last(y) if last else y


def _adam(model: Any, beta1: float) -> Any:
    return importlib.import_module("optax").adam(model.config.lr, b1=beta1)


def _moved(adam: Any, gradients: Any, moments: Any, parameters: Any) -> tuple[Any, Any]:
    """(parameters, moments) after one step of Adam."""
    updates, moments = adam.update(gradients, moments, parameters)
    return importlib.import_module("optax").apply_updates(parameters, updates), moments


def _gan(jax: Any, model: Any) -> tuple[Any, Callable[..., Any]]:
    jnp, softplus, config = jax.numpy, jax.nn.softplus, model.config
    adam = _adam(model, config.beta1)
    g, d = _dense(jax, model.generator.layers), _dense(jax, model.discriminator.layers)

    def activation(x: Any) -> Any:
        return jax.nn.leaky_relu(x, config.slope)

    def step(state: Any, key: Any, images: Any, noise: Any) -> Any:
        g, d, g_moments, d_moments = state
        key, draw = jax.random.split(key)
        real = images.reshape(len(images), -1).astype(jnp.float32) / 127.5 - 1
        z = jax.random.normal(draw, (max(len(images), 2), config.latent)) if noise is None else noise[0]
        fake, back = jax.vjp(lambda g: _through(g, z, activation, jnp.tanh), g)

        def d_loss_of(d: Any) -> Any:
            logits = _through(d, real, activation), _through(d, fake, activation)
            return softplus(-logits[0]).mean() + softplus(logits[1]).mean()

        d_loss, d_gradients = jax.value_and_grad(d_loss_of)(d)
        d, d_moments = _moved(adam, d_gradients, d_moments, d)
        g_loss, at_fake = jax.value_and_grad(lambda x: softplus(-_through(d, x, activation)).mean())(fake)
        g, g_moments = _moved(adam, back(at_fake)[0], g_moments, g)
        return (g, d, g_moments, d_moments), key, d_loss, g_loss

    return (g, d, adam.init(g), adam.init(d)), step


def _vae(jax: Any, model: Any) -> tuple[Any, Callable[..., Any]]:
    jnp, config, adam = jax.numpy, model.config, _adam(model, 0.9)
    gaussian = config.likelihood == "gaussian"
    networks = [_dense(jax, layers) for layers in (
        model.encoder.layers, [model.mu], [model.log_var], model.decoder.layers)]
    parameters = (*networks, jnp.zeros((1, 1))) if gaussian else tuple(networks)

    def activation(x: Any) -> Any:
        return jax.nn.leaky_relu(x, config.slope)

    def step(state: Any, key: Any, images: Any, noise: Any) -> Any:
        parameters, moments = state
        key, for_pixels, for_z = jax.random.split(key, 3)
        unit = images.reshape(len(images), -1).astype(jnp.float32) / 255
        u = jax.random.uniform(for_pixels, unit.shape) if noise is None else noise[0]
        x = unit * 2 - 1 if gaussian else (u < unit).astype(jnp.float32)
        eps = jax.random.normal(for_z, (len(x), config.latent)) if noise is None else noise[-1]

        def loss_of(parameters: Any) -> Any:
            encoder, mu_of, log_var_of, decoder = parameters[:4]
            h = activation(_through(encoder, x, activation))
            mu, log_var = _through(mu_of, h, activation), _through(log_var_of, h, activation)
            output = _through(decoder, mu + jnp.exp(log_var * 0.5) * eps, activation, jnp.tanh if gaussian else None)
            if gaussian:
                scaled = (output - x) ** 2 * jnp.exp(-parameters[4]) + parameters[4]
                reconstruction = 0.5 * (scaled + math.log(2 * math.pi)).sum() / len(x)
            else:
                reconstruction = (jax.nn.softplus(output) - x * output).sum() / len(x)
            kl = 0.5 * (mu * mu + jnp.exp(log_var) - log_var - 1).sum() / len(x)
            return reconstruction + kl, (reconstruction, kl)

        (_, losses), gradients = jax.value_and_grad(loss_of, has_aux=True)(parameters)
        return _moved(adam, gradients, moments, parameters), key, *losses

    return (parameters, adam.init(parameters)), step
