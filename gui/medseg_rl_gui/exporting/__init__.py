"""Writes labels, surfaces, tables and pictures to files: what each format holds, what is asked, and the writing itself.

Sessions are saved by `opening.sessions`; quantities have their own panel.
"""
