"""Human feedback, whatever the task: its records, where they are kept, and what is learned from them.

Imports nothing here, so that a session writes feedback without loading torch: take what you need from its module.
"""
