"""``cupy.fft``."""

from __future__ import annotations

import numpy as _np

import cupy as _cupy

_cupy._fill(globals(), _cupy._api["cupy.fft"], _np.fft)
