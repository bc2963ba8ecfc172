"""Tests by floor; real PostgreSQL and a real broker always."""
