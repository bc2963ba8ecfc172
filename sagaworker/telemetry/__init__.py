"""Sagaworker's figures for monitoring."""
