"""CXDB: the stores, its files, its type registry."""
