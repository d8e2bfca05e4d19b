"""An order, an event, a page as clients see them."""
