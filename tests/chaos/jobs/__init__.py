"""Job services by the thousand, under kill -9, and in pools that are too small for them."""
