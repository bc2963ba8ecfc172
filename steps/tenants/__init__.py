"""Tenants on a PostgreSQL server: provision, suspend, resume and offboard them, one step a module.

Inputs of every list: `tenant` (a lower-case name) and optionally `rotation` (number of its password, default 1). The
worker's environment holds the rest: TENANTS_DATABASE_URL, how to reach the server as superuser or as a role with
CREATEROLE and CREATEDB, and TENANT_SECRET, from which passwords are derived. docs/tenants.md says what undo means here.
"""

from typing import Final

from steps.tenants._tenant import password_for

PROVISION: Final = (
    "steps.tenants.create_role",
    "steps.tenants.create_database",
    "steps.tenants.create_schema",
    "steps.tenants.verify_login",
)
SUSPEND: Final = ("steps.tenants.suspend",)
RESUME: Final = ("steps.tenants.resume",)
OFFBOARD: Final = (
    "steps.tenants.close",
    "steps.tenants.archive_database",
    "steps.tenants.drop_database",
    "steps.tenants.drop_role",
)

__all__ = ["OFFBOARD", "PROVISION", "RESUME", "SUSPEND", "password_for"]
