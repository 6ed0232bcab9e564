"""The fault suite: what happens to files, sessions and masks when programs are killed, disks fill and inputs lie.

`make faults` runs all of it, prints its figures and writes benchmarks/FAULTS.md; tests/faults runs short forms.
"""
