# SPDX-License-Identifier: GPL-2.0-only
"""The figures of the book: one file a kind, all drawn with :mod:`hmmkit.figures.drawing`."""

from hmmkit.figures.addresses import address_map
from hmmkit.figures.bits import bit_fields
from hmmkit.figures.calls import call_graph
from hmmkit.figures.costs import cost_bars, cost_curves
from hmmkit.figures.drawing import Svg
from hmmkit.figures.levels import page_levels
from hmmkit.figures.outcomes import outcome_grid
from hmmkit.figures.page_tables import Entry, Moment, page_tables
from hmmkit.figures.parting import parting_ways
from hmmkit.figures.snapshots import snapshot_map
from hmmkit.figures.stages import stage_chart
from hmmkit.figures.states import state_diagram

__all__ = [
    "Entry",
    "Moment",
    "Svg",
    "address_map",
    "bit_fields",
    "call_graph",
    "cost_bars",
    "cost_curves",
    "outcome_grid",
    "page_levels",
    "page_tables",
    "parting_ways",
    "snapshot_map",
    "stage_chart",
    "state_diagram",
]
