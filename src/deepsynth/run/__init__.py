"""The run: a folder that records everything; its steps, their execution and their receipts."""
