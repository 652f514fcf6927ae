"""The fault matrix: what is done to runs on purpose, and what must hold after it. In reading order:

* ``trials``        a trial, a row, the account of a row
* ``children``      commands in processes of their own, to be killed, signalled and searched for orphans
* ``worker``        the main command at a few hundred frames, with a fault put in
* ``remains``       what a run leaves: its digest, its records, what it printed

Rows of the matrix, by number:

* ``kills``         1 SIGKILL at random moments; 2 within a save
"""

from __future__ import annotations

from benchmarks.fault_injection import kills
from benchmarks.fault_injection.trials import Row

ROWS: dict[int, Row] = {row.number: row for module in (kills,) for row in module.ROWS}
"""Number -> row."""
