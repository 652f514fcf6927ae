"""One run from its configuration to its last file.

In reading order:

* ``config``         everything that decides a result, and the name that follows from it
* ``build``          a run's task, representation and bonuses, as its seed makes them
* ``validate``       planned runs checked, and their parts kept until their training
* ``train``          the stages: pre-training, training, final evaluation
* ``pretraining``    the representation fitted, or the same fit taken from the cache
* ``data_policy``    the policy that gathers frames, where random actions do not
* ``continued``      a run that goes on where another ended: more frames, or from its weights
* ``fit_cache``      finished fits, shared by runs
* ``context``        what these stages share
* ``callback``       work between two rollouts: records, evaluations, checkpoints, a stop
* ``env_metrics``    metrics that an environment tells of itself, and of the newest episodes
* ``evaluate``       named levels played by a policy: episodes, or windows
* ``splits``         which levels of a split are played, and how often
* ``agreement``      actions compared on the same states, by their effect
* ``kept_policies``  policies kept on the way, and what they earn afterwards
* ``final``          evaluation on the splits, tables and pictures
* ``crossed``        finished agents on the training levels of other seeds
* ``changes``        code that changed since a run, and its folder set aside to run it again
* ``run_dir``        the folder of a run, its lock and its files
* ``locks``          files that one process holds at a time
* ``source``         commit, versions, machine, and classes from outside the toolkit
* ``load``           a trained agent read back, for use
* ``bundles``        finished runs as files to give away, local or on the hub
* ``added``          evaluations added to a finished run
* ``trackers``       Weights & Biases, TensorBoard and trackio, which may fail
* ``progress``       a progress bar, or lines
"""
