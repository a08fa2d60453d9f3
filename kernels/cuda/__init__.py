"""The kernels as CUDA C++: sources, the arithmetic of their launches, and their compilation.

    matmul/         the ladder, one rung a file, from a thread for each number to the tensor cores
    translate       a scalar formula in Python to a device function in CUDA C++
    elementwise, optimizers, random, reductions, rows, attention
                    generated or written sources behind the names of `kernels`
    linear          matmul on device arrays, by the ladder
    launch          grids and blocks, in plain Python
    compile         reading a source, and CuPy's compiler

Importing this package needs no GPU; running a kernel needs CuPy and a device.
"""
