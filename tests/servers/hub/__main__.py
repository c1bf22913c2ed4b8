"""`python -m tests.servers.hub`."""

from .app import main

main()
