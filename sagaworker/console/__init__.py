"""Text for people and for pipes: tables, sentences, JSON, and the processes of `sagaworker up`."""
