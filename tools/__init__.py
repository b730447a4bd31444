"""Build code: editions, execution, pages, parity. Nothing else imports it."""
