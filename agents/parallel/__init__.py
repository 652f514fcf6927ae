"""Running side by side: worker threads of one process are in ``representations.threads``.

* ``distributed``  several processes (ranks) that train one agent
"""
