"""The backends that ask models. LangChain is imported only inside functions here, when a node needs it (A1)."""
