"""rnnmem: what a recurrent network still remembers.

`assess` measures in one call; `fit_recall` and `MemoryMeter` measure streams longer than memory; `compare`
sets networks side by side; `track` follows one while it is trained. `lyapunov_spectrum`, `memory_capacity`
and the other functions are what experts expect beside them.
"""

from rnnmem import nn, text, units
from rnnmem.assess import assess, fit_recall
from rnnmem.compare import compare
from rnnmem.comparison import Comparison
from rnnmem.errors import RnnMemError
from rnnmem.measures.effective_rank import effective_rank
from rnnmem.measures.fisher_memory import fisher_memory
from rnnmem.measures.information_processing import information_processing_capacity
from rnnmem.measures.lyapunov import lyapunov_spectrum
from rnnmem.measures.memory_capacity import memory_capacity
from rnnmem.measures.recall_angles import recall_angles
from rnnmem.measures.recall_transfer import recall_transfer
from rnnmem.measures.unit_information import unit_entropy, unit_information
from rnnmem.meter import MemoryMeter
from rnnmem.recall import RecallMaps
from rnnmem.report import MemoryReport
from rnnmem.track import Tracker, track

__version__ = "0.1.0"
__all__ = [
    "Comparison",
    "MemoryMeter",
    "MemoryReport",
    "RecallMaps",
    "RnnMemError",
    "Tracker",
    "assess",
    "compare",
    "effective_rank",
    "fisher_memory",
    "fit_recall",
    "information_processing_capacity",
    "lyapunov_spectrum",
    "memory_capacity",
    "nn",
    "recall_angles",
    "recall_transfer",
    "text",
    "track",
    "unit_entropy",
    "unit_information",
    "units",
]
