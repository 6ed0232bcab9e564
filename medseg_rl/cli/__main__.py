"""`python -m medseg_rl.cli`, for where the console script is not on the path."""

from medseg_rl.cli import main

main()
