"""What the tests of several rooms share: small jobs, runs, pages and folders."""
