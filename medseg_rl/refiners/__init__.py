"""Refiners that learn nothing, behind the same protocol as the agent: what a network must beat to be worth it."""
