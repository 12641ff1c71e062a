"""`python -m seektune` is `seektune`."""

import sys

from .cli import main

sys.exit(main())
