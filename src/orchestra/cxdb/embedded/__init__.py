"""The store in a folder: CXDB's own files, written by any number of processes (S5 to S9)."""
