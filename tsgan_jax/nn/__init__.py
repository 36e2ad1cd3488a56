"""Layers without project nouns."""
