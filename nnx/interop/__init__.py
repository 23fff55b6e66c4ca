"""Files and formats of others. The only room that may name an array library."""

from nnx.interop.safetensors import load_weights, save_weights

__all__ = ["load_weights", "save_weights"]
