"""The commands `orders` and `events`."""
