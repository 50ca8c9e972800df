import unittest

from prices import with_tax


class Prices(unittest.TestCase):
    def test_tax_is_a_share_of_the_price(self) -> None:
        self.assertEqual(with_tax(200, 19), 238)
