"""Calls of every function that has a derivative, drawn by hypothesis; a file for each chapter of `nnx/vjps`."""

from rule_cases import creation, decompositions, elementwise, fft, indexing, linalg, manipulation, statistical
from rule_cases.drawing import Case

CHAPTERS = creation, decompositions, elementwise, fft, indexing, linalg, manipulation, statistical
CASES = {name: case for chapter in CHAPTERS for name, case in chapter.CASES.items()}

OPERATORS = indexing.OPERATORS | manipulation.OPERATORS
"""What is no function of a namespace."""

__all__ = ["CASES", "OPERATORS", "Case"]
