"""Models that several bonuses share, without a bonus of their own.

``gradient_gain``: loss that an optimizer's step would take off each sample. ``linear``: fixed random features, and an
exact Bayesian linear forward model on them. ``variational``: a forward model with Gaussian weights. ``pixel_cnn``: a
density of frames. ``channel_capacity``: exact empowerment of environments that can be listed.
"""
