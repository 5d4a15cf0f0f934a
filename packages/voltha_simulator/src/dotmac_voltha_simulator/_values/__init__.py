"""Values on demand: the Extension service."""
