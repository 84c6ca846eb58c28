"""Threads meet the shapes of the program for the first time, all at once."""

import subprocess
import sys

from tests.api.processes import ROOT

# A process has its first times only once, so each child of this one has them anew.
MEETINGS = """
import contextlib, os, sys, threading
import msgspec
import app.main
from app.base import shapes

shapes.prepare()
# Two hold what nothing can be converted to, and nothing is.
known = sorted({shape for shape in shapes.known() if shape.__name__ not in ("Settings", "Program")}, key=repr)
sys.setswitchinterval(1e-6)

def meet():
    for shape in known:
        meeting.wait()
        with contextlib.suppress(msgspec.ValidationError):
            msgspec.convert(dict.fromkeys(shape.__struct_encode_fields__), shape)

died = 0
for _ in range(10):
    child = os.fork()
    if not child:
        meeting = threading.Barrier(4)
        threads = [threading.Thread(target=meet) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os._exit(0)
    died += os.waitpid(child, 0)[1] != 0
print(len(known), died)
"""


def test_threads_that_meet_a_shape_for_the_first_time_at_once_do_not_bring_the_process_down() -> None:
    said = subprocess.run([sys.executable, "-c", MEETINGS], cwd=ROOT, check=True, capture_output=True, text=True)
    shapes, died = map(int, said.stdout.split())
    assert shapes > 100
    assert died == 0
