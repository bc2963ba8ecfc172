"""Tests of steps/tenants on a PostgreSQL of their own; `secrecy` and `sagas` serve other tests too."""
