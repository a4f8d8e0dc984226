"""Meshes of objects, rendered to records of posed views."""
