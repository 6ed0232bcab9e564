"""What binds the feedback utilities to tasks: one package a recipe, each run by `medseg-rl recipe NAME`.

Imports nothing here. `recipe.py` is the shape they share, `report.py` what they leave behind; recipes never see
each other.
"""
