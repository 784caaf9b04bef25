"""The command line, one file a command: ``analogsim --help``. ``app`` has the options; ``main`` runs it."""

from analogsim.cli.app import main as main
