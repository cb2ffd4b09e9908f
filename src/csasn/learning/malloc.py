"""What the C library does with memory that large tensors give back."""

import ctypes
import platform

# mallopt's parameters (malloc.h), and the largest values that glibc takes.
M_TRIM_THRESHOLD, MOST_TRIMMED = -1, 2**31 - 1
M_MMAP_THRESHOLD, MOST_IN_HEAP = -3, 32 << 20


def keep_freed_memory() -> bool:
    """Let glibc keep the memory of freed tensors of up to 32 MiB for the next ones; whether there is a glibc to ask.

    By default it gives them back to the kernel, which hands every page out anew, and zeroed, at each step, unless glibc
    has raised its own threshold in time: on a CPU 0 to 16 % of a step of the lite profile on cached maps. The process
    stays as large as it once was, and no larger.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, MOST_IN_HEAP) and mallopt(M_TRIM_THRESHOLD, MOST_TRIMMED))
