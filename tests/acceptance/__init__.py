"""What proves behaviour and takes minutes: programs of their own, which pytest does not collect."""

import sys
from pathlib import Path

# Where `support` lies, which pytest finds by its setting `pythonpath`.
sys.path.append(str(Path(__file__).resolve().parents[1]))

RESULTS = Path(__file__).resolve().parent / "results"
