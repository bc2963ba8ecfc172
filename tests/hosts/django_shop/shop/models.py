from django.db import models


class Order(models.Model):
    email = models.CharField(max_length=100)
    cents = models.IntegerField()
    status = models.CharField(max_length=20, default="new")

    class Meta:
        db_table = "orders"


class Episode(models.Model):
    """What this shop sells: its table has the name that a table of ours once had."""

    title = models.CharField(max_length=100)

    class Meta:
        db_table = "episodes"
