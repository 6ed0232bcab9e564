"""The voxel agents: network, policy, rollout, losses, learner. One agent a voxel, all with the same weights."""
