"""The embedded servers and the supervisor, as root and as an ordinary user."""
