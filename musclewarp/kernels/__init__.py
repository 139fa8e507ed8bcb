"""Our own Warp kernels as torch ops in the namespace `musclewarp::`; each module is imported by its own name."""
