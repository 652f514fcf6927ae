"""Speed measured, and other people's training loops to compare with, in speed and in what they learn.

Read in this order: ``single_file`` (PPO as single-file implementations write it), ``frameworks`` (functions that are
timed: environments, our PPO, stable-baselines3's, the single file, pre-training), ``speed_rows`` (the settings they
are timed in, and ratios of them), ``measurement`` (each in a process of its own, round after round), ``sb3_curve``
(the learning curve of stable-baselines3's PPO, a command).
"""
