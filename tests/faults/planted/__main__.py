"""`python -m tests.faults.planted`: plant each bug, and see whether it is found."""

import sys

from tests.faults.planted.hunt import main

sys.exit(main())
