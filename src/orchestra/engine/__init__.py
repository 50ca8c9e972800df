"""The walk of a run: events in batches to the store, one node at a time."""
