"""`python -m zsi_jax` is `zsi`."""

import sys

from zsi_jax.main import cli

sys.exit(cli())
