"""``ci/bench.py kernels``: each compiled kernel of the NumPy backend beside the NumPy kernel, the reference and torch.

What a kernel is called with is a line in :mod:`benchmark.kernels.cases`; what torch does in its place, where it has the
like, one in :mod:`benchmark.kernels.torch_calls`.
"""
