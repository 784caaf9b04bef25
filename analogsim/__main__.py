"""``python -m analogsim``."""

from analogsim.cli.app import main

main()
