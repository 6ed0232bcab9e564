"""Opens, saves and recovers cases: from a path and the user's answers to a session that is kept safe.

Paints nothing and holds no open case: that is the controller's. Asks through the dialog service alone.
"""
