"""A program under test as a child process: a phone that connects to us, a lock that we connect to.

Nothing of Aliro is in here, and nothing of a program's configuration.
"""
import json
import queue
import resource
import socket
import subprocess
import threading
import time

import vpcd_card
import vpcd_reader

PATIENCE = 15.0


class Child:
    """Its JSON events are `events`, and everything that it says on standard error goes to a file."""

    def __init__(self, command, errors):
        self.errors, self.events = errors, queue.Queue()
        with open(errors, "ab") as f:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=f,
                                            restore_signals=False)         # SIGXFSZ stays ignored: see Lock.full
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            try:
                self.events.put(json.loads(line))
            except ValueError:
                self.events.put({"event": "not JSON", "line": line.decode("utf-8", "replace")})
        self.events.put(None)

    def event(self, name, patience=PATIENCE):
        """The next such event; ConnectionError when there is none in time."""
        while True:
            try:
                event = self.events.get(timeout=patience)
            except queue.Empty:
                raise ConnectionError("no '%s' within %d s" % (name, patience)) from None
            if event is None:
                self.events.put(None)
                raise ConnectionError("it ended with status %s; %s" % (self.process.wait(), self.last_words()))
            if event.get("event") == name:
                return event

    def last_words(self):
        with open(self.errors, encoding="utf-8", errors="replace") as f:
            return (f.read().strip().splitlines() or [""])[-1]

    def alive(self):
        return self.process.poll() is None

    def stop(self, kill=False):
        """`kill`: as a crash, without a warning."""
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Phone(Child):
    """A phone in our field. `command` takes the address of the vpcd that we are."""

    def __init__(self, command, errors):
        self.listener = vpcd_reader.Listener()
        super().__init__(command(self.listener.address), errors)
        self.card = None
        self.present()

    def present(self):
        """Waits for it, where it is not in the field."""
        end = time.monotonic() + PATIENCE
        while self.card is None:
            try:
                self.card = self.listener.card(0.5)
            except OSError:
                if not self.alive() or time.monotonic() > end:
                    raise ConnectionError("no phone in the field: %s" % self.last_words()) from None

    def send(self, c):
        self.present()
        try:
            return self.card.send(c)
        except OSError as e:
            self.card.sock.close()
            self.card = None
            raise ConnectionError("the phone left at %s: %s" % (c[:4].hex(), e)) from None

    def hand_over(self, c):
        """A command whose answer nobody waits for."""
        self.present()
        self.card.write(c)

    def reset(self):
        self.present()
        self.card.reset()

    def stop(self, kill=False):
        if kill:
            super().stop(kill)
        if self.card:
            self.card.sock.close()
        self.listener.close()
        super().stop(kill)


class Lock(Child):
    """A lock that listens for cards. Its first event says where."""

    def __init__(self, command, errors):
        super().__init__(command, errors)
        self.address = self.event("ready")["listen"]

    def full(self, on):
        """Its disk is full, or it is not any more: no file of its may grow."""
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (0 if on else resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def tap(self, device):
        """The device is in the field until the lock has its verdict and takes the power away, which it does when all is said; the
        lock's event."""
        stray = [event for event in list(self.events.queue) if event and event.get("event") == "tap"]
        if stray:
            raise ConnectionError("a tap that was none: %s" % stray)
        device.stays, sockets, off, power = True, [], threading.Event(), device.power

        def watched(on):
            power(on)
            if not on:
                off.set()
        device.power = watched
        field = threading.Thread(target=self._present, args=(device, sockets), daemon=True)
        field.start()
        try:
            event = self.event("tap")
            if not device.gone and not off.wait(PATIENCE):
                raise ConnectionError("the lock leaves the card powered")
            return event
        finally:
            for sock in sockets:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            field.join(PATIENCE)

    def _present(self, device, sockets):
        try:
            vpcd_card.present(device, self.address, connected=sockets.append)
        except OSError:
            pass
