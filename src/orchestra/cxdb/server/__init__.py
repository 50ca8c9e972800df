"""Our CXDB server: an embedded store by CXDB's binary protocol and HTTP routes (S30)."""
