"""The refinement of a mask as a Markov decision process: state, adjustments, rewards, environments."""
