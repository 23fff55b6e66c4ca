"""Checks of a model, a loss and data before the long training: ``nnx.sanity_check``."""

from nnx.sanity.check import sanity_check
from nnx.sanity.report import Finding, LayerStatistics, ParameterStatistics, SanityReport

__all__ = ["Finding", "LayerStatistics", "ParameterStatistics", "SanityReport", "sanity_check"]
