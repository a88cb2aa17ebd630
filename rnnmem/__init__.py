"""rnnmem: what a recurrent network still remembers.

`assess` measures in one call; `fit_recall` and `MemoryMeter` measure streams longer than memory; `compare`
sets networks side by side.
"""

from rnnmem import units
from rnnmem.assess import assess, fit_recall
from rnnmem.compare import Comparison, compare
from rnnmem.errors import RnnMemError
from rnnmem.meter import MemoryMeter
from rnnmem.recall import RecallMaps
from rnnmem.report import MemoryReport

__version__ = "0.1.0"
__all__ = [
    "Comparison",
    "MemoryMeter",
    "MemoryReport",
    "RecallMaps",
    "RnnMemError",
    "assess",
    "compare",
    "fit_recall",
    "units",
]
