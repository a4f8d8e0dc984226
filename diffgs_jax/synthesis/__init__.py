"""Meshes and furnished rooms, rendered to records."""
