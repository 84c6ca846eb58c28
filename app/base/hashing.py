"""Random tokens, their hashes, and keys derived from the secret key. A token is only ever stored as its hash."""

import hashlib
import hmac
import secrets


def new_token(prefix: str = "") -> str:
    """256 random bits as URL-safe text."""
    return prefix + secrets.token_urlsafe(32)


def sha256_hex(token: str) -> str:
    """SHA-256 in hex. Sufficient for random tokens, which cannot be guessed; passwords use argon2."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def derive_key(secret: str, purpose: str) -> str:
    """A separate key for one purpose, so that a signature of a form is not valid for a token."""
    return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()
