"""What the shop charges."""

import unittest

from prices import gross, receipt


class Prices(unittest.TestCase):
    def test_a_price_with_tax_is_rounded_up(self) -> None:
        self.assertEqual(gross(101, 19), 121)

    def test_a_receipt_has_every_item_and_the_total(self) -> None:
        self.assertEqual(receipt({"tea": 200, "cup": 500}, 10), '{"items": {"tea": 220, "cup": 550}, "total": 770}')


if __name__ == "__main__":
    unittest.main()
