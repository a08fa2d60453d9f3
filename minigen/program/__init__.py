"""mg.compile: a training step becomes a program that can be read.

    trace.py      one real step, recorded through the engine's single recording point
    passes/       the program made smaller and faster, a file a pass
    loops.py      fused groups become explicit loops
    emit.py       the program becomes Python source, which is what runs
    step.py       which program fits a call, and what is checked before it runs
    cuda_loops.py, cuda.py, graph.py
                  the same for the gpu: loops as CUDA C++, the source, and its recording as a CUDA graph
"""

from .step import CompiledStep, compile

__all__ = ["CompiledStep", "compile"]
