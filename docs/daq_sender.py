"""Deal a detector's events to the nodes of ami. Copy this, with your detector for the sine.

Needs pyzmq, numpy and msgpack. A C++ program does the same with libzmq; docs/daq.md has the bytes.
"""

import collections
import sys
import time

import msgpack
import numpy as np
import zmq

LEASE_S = 30.0  # a node that is silent for longer loses to the others what it has not brought home


class Node:
    def __init__(self, name, ring, last):
        self.name, self.ring = name, ring
        self.next = self.last = self.safe = last  # its events are numbered from where it says that it is
        self.kept = collections.deque()  # (first number, count, header, frames) until they are safe
        self.line, self.turn, self.credit, self.heard, self.condemned = None, 0, 0, time.monotonic(), False

    def flying(self):
        return sum(sum(f.nbytes for f in frames) for at, k, _, frames in self.kept if at + k > self.last)


class Sender:
    def __init__(self, endpoint, fields, interval_s=0.05):
        """``fields``: (name, dtype, shape) of each, in the order of the frames."""
        self.socket = zmq.Context.instance().socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.SNDHWM, 0)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.bind(endpoint)
        fields = [{"name": n, "dtype": np.dtype(d).str, "shape": list(s)} for n, d, s in fields]
        self.welcome = {
            "say": "welcome",
            "daq": 1,
            "fields": fields,
            "interval_s": interval_s,
            "interval_fixed": True,
        }
        self.nodes, self.taken, self.phase = {}, set(), {"run": 0, "step": 0, "value": 0.0}
        self.pool, self.last_run, self.turn = collections.deque(), 0, 0  # what is to be dealt again

    def begin_run(self, run=0):
        self.last_run = run or self.last_run + 1
        self.phase = {"run": self.last_run, "step": 0, "value": 0.0}
        self.say("begin_run")

    def begin_step(self, value):
        self.phase = {**self.phase, "step": self.phase["step"] + 1, "value": value}
        self.say("begin_step")

    def say(self, transition):  # to every node, in the order of what it is dealt
        for node in self.nodes.values():
            self._keep(node, 0, {"transition": transition, **self.phase}, ())

    def send(self, timestamps_ns, *columns, lacking=None):
        """Deal a block of events; ``columns``: (count, *shape) each. Waits while 100 blocks find no room."""
        frames = [np.ascontiguousarray(c) for c in (np.asarray(timestamps_ns, np.int64), *columns)]
        header = {"events": len(frames[0]), **self.phase, "lacking": lacking or {}}
        self.pool.append((len(frames[0]), header, frames))
        self._deal()
        while len(self.pool) > 100:
            self.step(10)

    def _deal(self):
        while self.pool:
            here = [node for node in self.nodes.values() if node.line and node.flying() < node.credit]
            if not here:
                return
            self.turn += 1
            self._keep(here[self.turn % len(here)], *self.pool.popleft())

    def _keep(self, node, count, header, frames):
        node.kept.append((node.next, count, header, frames))
        if node.line is not None:
            self._send_kept(node, node.kept[-1], node.next)
        node.next += count

    def _send_kept(self, node, item, after):
        at, _, header, frames = item
        self._say(node.line, {"turn": node.turn, "sequence": at, "after": after, **header}, *frames)

    def _say(self, line, header, *frames):
        try:
            self.socket.send_multipart([line, msgpack.packb(header), *frames], copy=False)
        except zmq.ZMQError:  # it is gone; when it comes again, it says where it is
            for node in self.nodes.values():
                node.line = None if node.line == line else node.line

    def step(self, timeout_ms=10):
        """Hear what nodes say. To be called several times a second."""
        while self.socket.poll(timeout_ms):
            line, said = self.socket.recv_multipart()
            self._hear(line, msgpack.unpackb(said))
            timeout_ms = 0
        self._deal()
        here = [node for node in self.nodes.values() if node.line is not None]
        for node in self.nodes.values():
            if time.monotonic() - node.heard > LEASE_S and node.next > node.safe and set(here) - {node}:
                node.line, node.condemned, node.heard = None, True, time.monotonic()
                self._say(
                    (set(here) - {node}).pop().line, {"say": "fence", "node": node.name, "ring": node.ring}
                )

    def close(self):
        self.socket.close(0)

    def _hear(self, line, said):
        if said["say"] == "hello":
            self._say(line, self.welcome)
        elif said["say"] == "ready":
            self._hear_ready(line, said, (said["node"], said["ring"]))
        elif said["say"] == "fenced" and (said["node"], said["ring"]) in self.nodes:
            self._take(self.nodes.pop((said["node"], said["ring"])), said["safe"])
        elif said["say"] in ("had", "bye"):
            known = [n for n in self.nodes.values() if n.line == line and n.turn == said["turn"]]
            for node in known:
                node.last, node.safe, node.heard = (
                    said["last"],
                    max(node.safe, said["safe"]),
                    time.monotonic(),
                )
                while node.kept and node.kept[0][0] + max(1, node.kept[0][1]) <= node.safe:
                    node.kept.popleft()
            if not known:
                self._say(line, {"say": "again"})

    def _hear_ready(self, line, said, place):
        self.last_run = max(self.last_run, said["run"])
        if place in self.taken:
            self._say(line, {"say": "taken", "ring": said["ring"]})
            return
        for key, other in self.nodes.items():  # with another ring: what was in the old one is dealt again
            if key[0] == place[0] and key != place:
                other.line, other.condemned = None, True
                self._say(line, {"say": "fence", "node": other.name, "ring": other.ring})
        node = self.nodes.get(place)
        if node is None:
            node = self.nodes[place] = Node(*place, said["last"])
            if self.phase["run"]:
                self._keep(node, 0, {"transition": "begin_run", **self.phase}, ())
        if node.condemned:
            self._say(line, {"say": "fence", "node": node.name, "ring": node.ring})
            return
        node.line, node.turn, node.credit, node.heard = line, said["turn"], said["credit"], time.monotonic()
        node.last = after = said["last"]
        for item in node.kept:
            if item[0] + max(1, item[1]) > said["last"]:
                self._send_kept(node, item, after)
                after = max(after, item[0] + item[1])

    def _take(self, node, safe):
        self.taken.add((node.name, node.ring))
        for at, count, header, frames in node.kept:
            if count and at + count > safe:  # the first ones of a block may be safe
                skip = header.get("skip", 0) + max(0, safe - at)
                self.pool.append((header["events"] - skip, {**header, "skip": skip}, frames))


if __name__ == "__main__":
    sender = Sender(
        *(sys.argv[1:2] or ["tcp://127.0.0.1:5577"]), [("signal", "f8", ()), ("image", "u2", (64, 64))]
    )
    while not sender.nodes:
        sender.step(100)
    sender.begin_run()
    while True:
        now_ns = time.time_ns() + np.arange(10) * 1000
        sender.send(now_ns, np.sin(now_ns / 1e9), np.random.poisson(5.0, (10, 64, 64)).astype(np.uint16))
        sender.step(80)
