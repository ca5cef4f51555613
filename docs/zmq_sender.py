"""Send events to ami over ZeroMQ. Copy this, with your detectors for the sine. Needs pyzmq and numpy."""

import json
import sys
import time

import numpy as np
import zmq


class Sender:
    def __init__(self, endpoint="tcp://*:5555"):
        self.socket = zmq.Context.instance().socket(zmq.PUB)  # or zmq.PUSH, for zmq://…?socket=pull
        self.socket.bind(endpoint)
        self.sequence, self.session = 0, time.time_ns()  # another session: the sender began anew

    def send(self, timestamp_ns, **values):
        arrays = {name: np.asarray(value, order="C") for name, value in values.items()}
        fields = [{"name": name, "dtype": a.dtype.str, "shape": a.shape} for name, a in arrays.items()]
        self._send({"timestamp": timestamp_ns, "fields": fields}, *arrays.values())
        self.sequence += 1

    def say(self, transition, value=0.0):  # begin_run, end_run, begin_step (with its value), end_step
        self._send({"transition": transition, "value": value})

    def _send(self, header, *frames):
        header |= {"sequence": self.sequence, "session": self.session}
        self.socket.send_multipart([json.dumps(header).encode(), *frames])


if __name__ == "__main__":
    sender = Sender(*sys.argv[1:2])
    while True:
        now_ns = time.time_ns()
        image = np.random.poisson(5.0, (64, 64)).astype(np.uint16)
        sender.send(now_ns, signal=np.sin(now_ns / 1e9), image=image)
        time.sleep(0.008)
