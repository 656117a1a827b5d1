"""Bulk export of PolyAI call recordings.

Recordings flow one way: load, plan, fetch, write, record, report. `exporter.export` reads like
that sentence; start there.
"""

__version__ = "0.1.0"
