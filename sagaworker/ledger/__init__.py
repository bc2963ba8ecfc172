"""The only SQL: schema, connections, one method and one .sql file per move, reads, audit."""
