"""The backends that call models; LangChain is imported when a node needs it (A1)."""
