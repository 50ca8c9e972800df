"""The store on a CXDB server: writes by the binary protocol, lists and older pages by HTTP (S2, S20)."""
