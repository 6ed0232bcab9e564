"""Coloured shapes on 32 x 32 pixels: where task rewards and self-critical training run in the domain they come from.

No part of the library: a fixture for its `medseg_rl.rlhf.task_reward`. `python -m benchmarks.shape_scenes` writes the
table.
"""
