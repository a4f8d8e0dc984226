"""Furnished rooms, made by rule, lit, and filmed along a path."""
