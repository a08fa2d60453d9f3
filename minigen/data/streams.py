"""One random stream for each purpose, so that equal seeds do not make equal numbers in different places."""

from minigen.errors import UsageError

__all__ = ["stream_seed"]


def stream_seed(seed: int, purpose: bytes) -> int:
    """The 64-bit Philox key of one `purpose` (8 bytes of ASCII) of a run with this `seed`.

    With the run's seed itself as the key, the shuffled order of epoch 3 and the latent noise of draw 3 would
    be made of the very same bits. Raises UsageError for a seed outside [0, 2^64).
    """
    if not 0 <= seed < 1 << 64:
        raise UsageError(f"seed {seed}: expected a whole number from 0 to 2^64 - 1")
    return int(seed) ^ int.from_bytes(purpose, "big")
