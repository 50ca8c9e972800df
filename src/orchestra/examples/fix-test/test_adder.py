import unittest

from adder import add


class AdderTest(unittest.TestCase):
    def test_two_and_three_are_five(self) -> None:
        self.assertEqual(add(2, 3), 5)
