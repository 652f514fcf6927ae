"""Networks that two or more methods use, bonuses among them.

Read in this order: ``images`` (uint8 to float, pictures of rows), ``trunks`` (from an observation to one vector),
``decoders`` (from latents back to an image),
``whitened_patches`` (as k-means reads them), ``recurrent`` (the convolutional LSTM of models that draw step by step),
``video`` (prediction of frames with a learnt prior), ``actions`` (losses of networks that tell actions).
"""
