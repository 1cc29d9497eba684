"""`python -m embedkit_cli` does what `embedkit` does."""

import sys

from embedkit_cli.app import main

sys.exit(main())
