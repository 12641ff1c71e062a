"""Models: opening them (load, weights, adapters, heads), the one forward, attention between documents, layers by depth."""
