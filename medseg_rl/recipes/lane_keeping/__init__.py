"""Keeping a lane with a person who may take the wheel: TD3 alone and three ways of learning from the interventions.

Imports nothing here, so that the list of recipes does not load the simulator; `recipe.py` is what is run.
"""
