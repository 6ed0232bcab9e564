"""Rubrics as YAML files, read by `medseg_rl.rlhf.rules.read_rubric`: which propositions make which class of answer."""
