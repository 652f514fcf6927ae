"""Trackers' side of runs: what a project page shows, and what reaches it after training.

In reading order:

* ``figures``         final figures of a run and facts about it, under the same names for every suite
* ``workspace``       the page on Weights & Biases: sections of panels, as code and as JSON
* ``layout``          a drawing of the page
* ``episodes``        recorded episodes as videos
* ``after_training``  probe scores, pictures and episodes that training did not send
* ``sync``            offline runs sent, the parts of a continued one together
"""
