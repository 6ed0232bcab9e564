"""A small real-time-strategy game that takes commands: grounded reinforcement learning and its controls.

Imports nothing here; `recipe.py` is what is run. The game is our own, in NumPy, many games at once.
"""
