"""What sagaworker tells of itself to monitoring."""
