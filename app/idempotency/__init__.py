"""Requests with an `Idempotency-Key`: a repeated request is not executed again but gets the result of the first one."""
