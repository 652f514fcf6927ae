"""Bundles: finished runs as files that can be given away, and that hold nothing which can run.

    README.md                       a card: what it is, its figures, how to load it
    MANIFEST.sha256                 every other file with its hash, as sha256sum writes it
    bundle.json                     format, and the runs
    results.csv, picture.png
    runs/<id>/config.json           the run's folder without what only training needs: weights of the policy and states
              source.json           of the bonuses (agent.safetensors, agent.json), evaluations, records (metrics.json),
              agent.safetensors     pictures
              ...

In reading order:

* ``address``   folders and hf://USER/REPO, told from other paths
* ``manifest``  names and kinds of files that a bundle may have, and their hashes
* ``pack``      a run's folder as files of a bundle
* ``opening``   the folder to read in place of a path: a bundle is checked and unpacked, and is a run's folder again
* ``hub``       bundles on the Hugging Face hub
"""
