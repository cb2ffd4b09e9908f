"""`python -m csasn` is the command line."""

from csasn.cli import main

main()
