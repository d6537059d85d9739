"""Is the vpcd that a card program connects to: a reader without pcscd.

The framing is vsmartcard's public protocol: a big-endian u16 length and a body; one byte 00 off, 01 on, 02 reset, 04 get ATR (the
only one that is answered); longer is a C-APDU, answered with the R-APDU.
"""
import socket
import struct

OFF, ON, ATR = 0, 1, 4


class Listener:
    def __init__(self, address="127.0.0.1:0"):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_server((host, int(port)))
        self.address = "%s:%d" % self.socket.getsockname()[:2]

    def card(self, patience=10.0):
        """The next card that connects, powered; TimeoutError (an OSError) if none does."""
        self.socket.settimeout(patience)
        sock, _ = self.socket.accept()
        return Card(sock)

    def close(self):
        self.socket.close()


class Card:
    def __init__(self, sock, patience=10.0):
        sock.settimeout(patience)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._tell(ON)
        self.write(bytes([ATR]))
        self.atr = self._read()

    def write(self, body):
        self.sock.sendall(struct.pack(">H", len(body)) + body)

    def _tell(self, what):
        self.write(bytes([what]))

    def _exactly(self, n):
        got = b""
        while len(got) < n:
            part = self.sock.recv(n - len(got))
            if not part:
                raise ConnectionError("the card left")
            got += part
        return got

    def _read(self):
        return self._exactly(struct.unpack(">H", self._exactly(2))[0])

    def reset(self):
        """Off and on again."""
        self._tell(OFF)
        self._tell(ON)

    def send(self, c):
        self.write(c)
        return self._read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self._tell(OFF)
        except OSError:
            pass
        self.sock.close()
