"""How fast the kernels are, and how fast they could be.

    timing      competitors by turns, medians with their spread
    check       right before fast
    machine     what the numbers were measured on
    roofline    the limits: multiply-adds in registers, copies in each cache
    ladder      every rung of the matmul ladder on every shape, beside BLAS
    streaming   elementwise kernels, optimizers and random numbers against the bandwidth that bounds them
    devices     CPU against GPU, and the size from which the GPU wins
    device      the two devices, as the others see them

These give numbers; `minigen bench` prints tables, writes JSON and draws.
"""
