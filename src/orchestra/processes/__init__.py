"""Processes that are started, followed and ended; what they may reach; what they write."""
