"""The fault matrix: what is done to runs on purpose, and what must hold after it.

In reading order:

* ``trials``          a trial, a row, the account of a row
* ``children``        commands in processes of their own, to be killed, signalled and searched for orphans
* ``worker``          the main command at a few hundred frames, with a fault put in
* ``remains``         what a run leaves: its digest, its records, what it printed
* ``faulty_env``      an environment that fails at a chosen step
* ``hostile_files``   files that a stranger may have made

Rows of the matrix, by number:

* ``kills``           1 SIGKILL at random moments; 2 within a save
* ``corruption``      3 truncated files and flipped bits
* ``full_disk``       4 no room on the disk
* ``signals``         5 SIGTERM, SIGUSR1 and SIGINT
* ``not_numbers``     6 nan; 7 environments whose process exits, hangs or raises
* ``hostile``         8 hostile files
* ``tracker_faults``  9 trackers
* ``shared_grids``    10 two processes on one run; 11 crashes within a grid
* ``ranks``           12 two ranks
* ``mismatches``      13 versions and spaces that do not fit
* ``same_seed``       14 the same seed twice
"""

from __future__ import annotations

from benchmarks.fault_injection import (
    corruption,
    full_disk,
    hostile,
    kills,
    mismatches,
    not_numbers,
    ranks,
    same_seed,
    shared_grids,
    signals,
    tracker_faults,
)
from benchmarks.fault_injection.trials import Row

MODULES = (
    *(kills, corruption, full_disk, signals, not_numbers, hostile),
    *(tracker_faults, shared_grids, ranks, mismatches, same_seed),
)
ROWS: dict[int, Row] = {row.number: row for module in MODULES for row in module.ROWS}
"""Number -> row."""
