"""The desktop application of MedSeg-RL: windows, painting and input around one `SegmentationSession` for each case.

    medseg-rl-gui [FILE|FOLDER ...]

Importing it loads neither Qt, torch nor vtk. START HERE: `main_window.py`, `actions.py`, `controller.py`.
"""
