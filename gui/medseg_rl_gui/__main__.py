"""`python -m medseg_rl_gui`: the same as `medseg-rl-gui`."""

import sys

from medseg_rl_gui.app import main

sys.exit(main())
