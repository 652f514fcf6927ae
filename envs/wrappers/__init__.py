"""Wrappers of vector envs.

Files in reading order:

* ``forwarding``     attributes of a wrapped env
* ``faults``         environments that raise, hang or die, named
* ``observations``   observation spaces from elsewhere, converted to those that agents read
* ``foreign``        a vector env from elsewhere, its observations converted, its faults named
* ``sb3``            stable-baselines3's ``VecEnv`` interface
* ``frame_stack``    the last k frames in the channels
* ``factors``        the ground truth as an observation
* ``last_step``      the last action and reward as observations
* ``visual_shifts``  images shifted in hue, noise, blur, ...
* ``gymnasium``      any Gymnasium env by its id, or by its class
* ``workers``        single envs in processes of their own
"""
