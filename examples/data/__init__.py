"""Data sets of the examples, one module each, and the files that are shipped with them."""
