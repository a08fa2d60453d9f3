"""The kernels for NumPy arrays, compiled by Numba: the only place that imports it."""

import os

# OpenMP's threads wait by spinning, by default for milliseconds. Where other programs want the processors as well,
# that keeps them from the very thread that is waited for: on a busy machine with 2 cores, a training step of the
# document's GAN on two threads took 61 ms, and 2.5 ms with this, about 20 us. It is read when OpenMP is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
