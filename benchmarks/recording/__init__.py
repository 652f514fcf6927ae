"""Recordings: episodes of trained agents, step by step, for those who would rather look.

Read in this order:

* ``choice``     the rule that says which episodes are shown
* ``screen``     what a person sees of an environment
* ``bonus``      bonuses of a run, step by step
* ``episode``    episodes played once more, each step kept
* ``sheets``     frames as contact sheets in WebP
* ``store``      the files, their format, and when they count
* ``documents``  what the files say of an episode and of levels
* ``explanations``  saliency, masks of slots, latents moved
* ``record``     a run's recordings: made where missing, and read back
* ``films``      animations, films and contact sheets
* ``page``       a page that plays episodes

    from benchmarks.recording.record import read, record_run
    record_run(run)                # RUN/recordings/*.json and *.webp
    read(run).episodes["train-12-0"]["frames"]
"""
