"""The doorbell: the Celery message that wakes a worker for one saga, and the front of its queue."""
