"""What happens to large memory that is not needed any more."""

import subprocess
import sys

import pytest

SIGNING_IN = """
import asyncio
from pathlib import Path
from app.accounts.passwords import Passwords
from app.base import memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

async def main():
    passwords = Passwords(memory_kib=19456, passes=2)
    at_first = resident()
    for _ in range(4):
        await passwords.hash("correct horse battery")
    print(resident() - at_first)

{before}
asyncio.run(main())
"""


def _kept(before: str) -> int:
    """Bytes that a process keeps when it has checked some passwords."""
    program = SIGNING_IN.format(before=before)
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return int(said.stdout)


def test_what_a_password_took_is_given_back_to_the_system() -> None:
    if _kept("") < 8 * 1024 * 1024:
        pytest.skip("this C library gives everything back by itself")
    assert _kept("memory.keep_less()") < 4 * 1024 * 1024
