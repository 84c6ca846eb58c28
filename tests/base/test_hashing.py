"""Tokens and their hashes."""

from app.base.hashing import derive_key, new_token, sha256_hex


def test_a_token_cannot_be_read_from_its_hash() -> None:
    token = new_token("atl_")
    assert token.startswith("atl_")
    assert token not in sha256_hex(token)
    assert derive_key("secret", "forms") != derive_key("secret", "tokens")
