"""`python -m tieout`."""

from tieout.cli.main import main

main()
