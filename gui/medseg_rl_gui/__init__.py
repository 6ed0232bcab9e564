"""The desktop application of MedSeg-RL. Not written yet: this placeholder keeps the name and the layout."""
