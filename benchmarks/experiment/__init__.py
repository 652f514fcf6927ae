"""Experiments: what is trained, at which size, with which settings, and how long it takes.

Read in this order: ``arguments`` (options that all commands share), ``plan`` (rows of a table -> configurations of
runs), ``presets`` (sizes), ``tuned`` (settings that suit a kind of task), ``overrides`` (``--set NAME.FIELD=VALUE``),
``execute`` (runs brought to their end), ``estimate`` (their wall time) and ``offline`` (representations fitted to
recorded frames, without an agent).
"""
