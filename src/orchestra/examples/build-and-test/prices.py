"""Prices of a small shop, in cents."""


def gross(net: int, tax: int) -> int:
    """The price with tax (in per cent), rounded up."""
    return math.ceil(net * (100 + tax) / 100)


def receipt(items: dict[str, int], tax: int) -> str:
    """A receipt as JSON: each price with tax, and what is to be paid."""
    prices = {name: gross(net, tax) for name, net in items.items()}
    return json.dumps({"items": prices, "total": sum(prices.values())})
