"""Declares no list."""

DEFINITIONS = 7
