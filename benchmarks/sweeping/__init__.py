"""Sweeps: a grid of options, its cells, and the places where they run.

In reading order:

* ``grid_file``  GRID.toml, checked
* ``cells``      the runs of a grid, each once
* ``worker``     one cell in a process of its own
* ``backends``   interface of a place where cells run; spawned processes of this machine
* ``slurm``      arrays of slurm, by submitit
* ``ray_tasks``  tasks of ray
* ``progress``   frames, return and time left of cells, from their folders
* ``loop``       cells started, started again, stopped
* ``table``      the table of a sweep
* ``run``        a sweep from its grid to its report

* ``ranges``     the table [search] of GRID.toml
* ``methods``    representations whose settings are looked for
* ``search``     their trials, by optuna
"""
