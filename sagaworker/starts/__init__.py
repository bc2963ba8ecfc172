"""Starting: a request is checked, stored once for each (kind, key), and rung."""
