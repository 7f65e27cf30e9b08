# SPDX-License-Identifier: GPL-2.0-only
"""The figures of the book: one file a kind, all drawn with :mod:`hmmkit.figures.drawing`."""

from hmmkit.figures.calls import call_graph
from hmmkit.figures.drawing import Svg
from hmmkit.figures.outcomes import outcome_grid

__all__ = ["Svg", "call_graph", "outcome_grid"]
