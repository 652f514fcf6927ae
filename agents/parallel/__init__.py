"""Running side by side.

* ``threads``      micro-batches in worker threads of one process
* ``distributed``  several processes (ranks) that train one agent
"""
