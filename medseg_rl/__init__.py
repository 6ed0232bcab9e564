"""MedSeg-RL: clicks on CT and MR volumes, refined step by step by voxel agents. Imports nothing eagerly.

What is imported later stays away from networks: see `medseg_rl.offline`.
"""

from medseg_rl import offline

__version__ = "0.1.0.dev0"

offline.install()
