"""Experiments: what is trained, at which size, with which settings, and how long it takes.

In reading order:

* ``arguments``     options that all commands share
* ``plan``          rows of a table to configurations of runs
* ``presets``       sizes
* ``outcomes``      what each task can decide at each size
* ``changed_settings``  what a run's agent has otherwise than its preset gives it
* ``claims``        claims of papers, each with the test that decides it
* ``claim_commands``  the commands of these tests
* ``tuned``         settings that suit a kind of task
* ``overrides``     ``--set NAME.FIELD=VALUE``
* ``settings_file`` the same in a file
* ``continued``     runs that train finished ones on
* ``equal_budget``  the baseline on an equal total of environment steps
* ``grid``          runs brought to their end, shared with other processes, and exit statuses
* ``execute``       a command from its plan to its report
* ``references``    a random and a scripted policy on the levels of the runs
* ``estimate``      their wall time
* ``offline``       representations fitted to recorded frames, without an agent
"""
