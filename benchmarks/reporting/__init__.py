"""Reports: finished runs read back, compared, and drawn.

Read in this order: ``runs`` (one folder of DIR/runs, rows of results.csv), ``stats`` (``Interval``, IQM, bootstraps),
``student_t`` (quantiles), ``moments`` (variance over seeds and levels), ``intervals`` (means, differences and gaps with
95% intervals), ``several_tasks`` (IQM, P(X > Y), profiles, Holm), ``cells`` (runs that differ in their seed alone),
``published`` (what papers report), ``layout`` (tables as text), ``tables`` (what is tabulated), ``notes`` (how to
read it), ``figures`` (its charts), ``html`` (the page) and ``report`` (the files of a directory). Apart from these:
``learning_curves`` (areas under curves) and ``bonus_maps`` (a bonus over the cells of a level).
"""
