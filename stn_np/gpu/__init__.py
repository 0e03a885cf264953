"""All that names CuPy or CUDA: devices, the launcher, graphs, matrix products, and the kernels."""
