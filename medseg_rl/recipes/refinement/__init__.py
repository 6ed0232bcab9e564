"""Learning from feedback on the product itself: what stores hold becomes a candidate bundle. `learning` is the way in.

Imports agents, evaluation and session; other recipes know nothing of it.
"""
