"""The kernels for NumPy arrays, compiled by Numba: the only place that imports it."""

import os

# OpenMP's threads wait by spinning, by default for milliseconds. Where other programs want the processors as well,
# that keeps them from the very thread that is waited for: on a busy machine with 2 cores, a training step of the
# document's GAN on two threads took 61 ms. A thread that sleeps takes 22 us to wake, though, as much as it saves in a
# product. This is about 80 us, which spans what lies between two products. It is read when OpenMP is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "4000")
