"""Encrypts API keys for storage, with a key derived from the secret key: a copy of the database alone reveals none."""

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken

from app.base.hashing import derive_key


class KeyEncryption:
    """`secret` is the secret key of this installation."""

    def __init__(self, secret: str) -> None:
        derived = hashlib.sha256(derive_key(secret, "provider keys").encode()).digest()
        self._fernet = Fernet(base64.urlsafe_b64encode(derived))

    def encrypt(self, key: str) -> str:
        return self._fernet.encrypt(key.encode()).decode("ascii")

    def decrypt(self, encrypted: str) -> str | None:
        """None when it was encrypted with another secret key, as after a restore elsewhere."""
        try:
            return self._fernet.decrypt(encrypted.encode()).decode()
        except InvalidToken:
            return None
