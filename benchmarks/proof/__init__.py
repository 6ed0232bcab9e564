"""The controls that could falsify the claim that reward teaches what supervision does not: a plan, run and told.

    python -m benchmarks.proof run    --output OUT --budget-minutes N [--updates U]   # goes on where it was stopped
    python -m benchmarks.proof report --output OUT                                    # into benchmarks/RESULTS.md

`plan` declares what is to be run and in what order, `running` trains and evaluates one run after the other on the
validation split, `standing` says what is on disk, `reporting` writes tables from that and from nothing else. The test
split stays closed; robots, metrics, statistics and tables are those of `medseg_rl.evaluation`.
"""
