from django.test import TestCase, TransactionTestCase

from shop.celery import sagas
from shop.models import Order


class Buying(TestCase):
    """Each test is a transaction that is rolled back, its sagas with it."""

    def test_a_bought_order_has_its_saga(self):
        with self.captureOnCommitCallbacks() as rings:
            bought = self.client.post("/buy", {"email": "ann@example.com"}).json()
        self.assertEqual(Order.objects.get().pk, bought["order"])
        self.assertEqual(len(rings), 1)
        self.assertEqual(sagas.engine.list(), [])


class Walking(TransactionTestCase):
    """Commits: the saga is there, and can be walked here and now."""

    def test_a_bought_order_is_shipped(self):
        bought = self.client.post("/buy", {"email": "ann@example.com"}).json()
        sagas.engine.run(bought["saga"])
        self.assertEqual(Order.objects.get().status, "shipped")
