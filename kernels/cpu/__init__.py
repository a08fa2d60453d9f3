"""The kernels for NumPy arrays, compiled by Numba: the only place that imports it."""
