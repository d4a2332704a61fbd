"""The meaning of CEFM: images, masks, measurements, alignment, reports.

Nothing here imports Prefect, a network client or an object store; a notebook can call every function.
"""

__version__ = "0.1.0"
