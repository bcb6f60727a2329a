"""A worker process that misbehaves on demand: the kind of misbehaviour is the name of the job's device."""

import os
import sys
import time

from pdfedchain.codec import decode, encode
from pdfedchain.ids import Hash
from pdfedchain.limits import JOB_FRAME_SIZE_BYTES_MAX
from pdfedchain.types.jobs import JobFailed, JobMessage, Progress, Sample, Sampled, Trained


def write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def send(body: object) -> None:
    frame = encode(JobMessage(body))  # type: ignore[arg-type]
    write(len(frame).to_bytes(4, "big") + frame)


def answer(request: Sample) -> None:
    """Do what the request's device names."""
    match request.device:
        case "progress":
            for done in range(3):
                send(Progress("drawing", done, 3, 0))
            send(Sampled(request.output, 10, 20))
        case "refuse":
            send(JobFailed(True, "no such folder", "make it"))
        case "break":
            send(JobFailed(False, "out of memory", ""))
        case "crash":
            print("something terrible", file=sys.stderr, flush=True)
            os._exit(7)
        case "garbage":
            write(b"\x00\x00\x00\x05hello")
            time.sleep(60)
        case "oversized":
            write((JOB_FRAME_SIZE_BYTES_MAX + 1).to_bytes(4, "big"))
            time.sleep(60)
        case "empty":
            write(bytes(4))
            time.sleep(60)
        case "torn":
            write(b"\x00\x00\x00\x50abc")
            os._exit(0)
        case "other":
            send(Trained(Hash(bytes(32)), 1, 1, 1, 1))
            time.sleep(60)
        case "silence":
            time.sleep(60)
        case "pid":
            send(Sampled(f"{os.getpid()} {os.nice(0)} {os.environ['OMP_NUM_THREADS']}", 1, 1))
        case "late":
            send(Sampled("answer", 1, 1))
            os._exit(3)


if __name__ == "__main__":
    while head := sys.stdin.buffer.read(4):
        body = decode(JobMessage, sys.stdin.buffer.read(int.from_bytes(head, "big")), size_bytes_max=10**7).body
        assert isinstance(body, Sample)
        answer(body)
