"""Reports: finished runs read back, compared, and drawn.

Read in this order:

* ``episodes``         a run's CSV files: levels and repetitions behind each return
* ``runs``             one folder of DIR/runs, rows of results.csv
* ``stats``            ``Interval``, IQM and other aggregates
* ``student_t``        quantiles
* ``moments``          variance over seeds and levels
* ``intervals``        means, differences and gaps with 95% intervals
* ``several_tasks``    IQM, P(X > Y), profiles, Holm
* ``matching``         the gap at matched source return
* ``labels``           names of methods
* ``origins``          commit, versions and machine that runs in one figure share
* ``cells``            runs that differ in their seed alone
* ``merging``          runs of several directories, and what refuses to be merged
* ``summary``          all cells of a directory, the baseline of each, what is left out
* ``comparisons``      differences from the baseline, corrected and marked
* ``published``        what papers report
* ``reference_rows``   reference policies on the levels of runs
* ``layout``           tables as text
* ``tables``           tables of outcomes
* ``context_tables``   whole costs, reference policies, published rows
* ``sections``         the tables in their order, with captions
* ``notes``            how to read them
* ``figure_styles``    a colour, line and marker for each method
* ``inline_svg``       charts as elements of the page
* ``figures``          charts of the page
* ``png_figures``      charts as files
* ``page_figures``     the charts of the page
* ``player``           recorded episodes and levels, as the page holds them
* ``html``             the page
* ``report``           the files of a directory
* ``model_card``       the card of agents that are shared
* ``frame``            results.csv in pandas

* ``read_outs``        ridge regressions from features to ground truth
* ``rank_correlation`` correlation over methods and seeds, a third quantity held fixed

Apart from these: ``learning_curves`` (areas under curves), ``metric_curves`` (any metric over training) and
``bonus_maps`` (a bonus over the cells of a level).
"""
