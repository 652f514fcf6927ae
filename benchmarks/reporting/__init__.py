"""Reports: finished runs read back, compared, and drawn.

Read in this order: ``runs`` (one folder of DIR/runs, rows of results.csv), ``stats`` (IQM, bootstrap intervals),
``cells`` (runs that differ in their seed alone), ``published`` (what papers report), ``layout`` (tables as text),
``tables`` (what the report tabulates), ``notes`` (how to read it), ``figures`` (its charts), ``html`` (the page) and
``report`` (the files of a directory). Apart from these: ``learning_curves`` (areas under curves) and ``bonus_maps``
(a bonus over the cells of a level).
"""
