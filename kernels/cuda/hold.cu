// Keeps a stream busy for a while, so that what is started meanwhile stands in line behind it and then runs without a gap:
// events around a line of short kernels would else measure how fast the host starts them. See stopwatch.py.

extern "C" __global__ void hold(unsigned long long nanoseconds)
{
#ifndef CUDA_ON_CPU  // which has no such clock, and nothing to wait for
    unsigned long long start, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
    do {
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    } while (now - start < nanoseconds);
#endif
}
