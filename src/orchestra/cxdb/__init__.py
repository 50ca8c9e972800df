"""CXDB: its formats, and the stores that speak them: in a folder, in memory, on a server."""
