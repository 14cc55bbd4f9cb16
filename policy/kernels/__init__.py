"""Kernels beside the plain PyTorch that they are tested equal to. Imported only when asked for."""
