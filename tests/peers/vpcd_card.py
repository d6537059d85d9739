"""Serves a Python card object over the vpcd protocol, as the connecting side.

Written from docs/protocol.md alone (nothing of vpcd is in it; the framing is vsmartcard's public protocol:
a big-endian u16 length and a body; one byte 00 off, 01 on, 02 reset, 04 get ATR; longer is a C-APDU).

A card object has: atr, power(on: bool), apdu(bytes) -> bytes, and tap_over() -> bool.
"""
import socket
import struct
import time

TCP_QUICKACK = 12
CONTACTLESS_ATR = bytes.fromhex("3B80800101")


def _recv(sock, n):
    got = b""
    while len(got) < n:
        # vpcd sends length and body apart: without this the delayed ACK costs 44 ms an APDU
        sock.setsockopt(socket.IPPROTO_TCP, TCP_QUICKACK, 1)
        part = sock.recv(n - len(got))
        if not part:
            raise ConnectionError("reader gone")
        got += part
    return got


def _send(sock, body):
    sock.sendall(struct.pack(">H", len(body)) + body)


def _connect(host, port, patience):
    end = time.monotonic() + patience
    while True:
        try:
            sock = socket.create_connection((host, port), timeout=5)
            sock.settimeout(None)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def present(card, address, patience=10.0, connected=lambda sock: None):
    """Puts the card on the reader until card.tap_over() or the reader goes away. True when the tap was over. `connected` is handed the
    socket: shutting it down takes the card away."""
    host, port = address.rsplit(":", 1)
    sock = _connect(host, int(port), patience)
    connected(sock)
    on = False
    try:
        while True:
            body = _recv(sock, struct.unpack(">H", _recv(sock, 2))[0])
            if len(body) == 1:
                if body[0] == 4:
                    _send(sock, card.atr)
                    continue
                if body[0] in (0, 2) and on:
                    card.power(False)
                on = body[0] in (1, 2)
                if on:
                    card.power(True)
            elif body:
                _send(sock, card.apdu(body))
            if card.tap_over():
                time.sleep(0.05)
                return True
    except (ConnectionError, OSError):
        if on:
            card.power(False)
        return card.tap_over()
    finally:
        sock.close()


def serve(card, address, taps=0, gap=1.0):
    """Taps the reader `taps` times (0: until killed), away from the field for `gap` seconds in between."""
    done = 0
    while not taps or done < taps:
        if done:
            time.sleep(gap)
        if not present(card, address):
            raise ConnectionError("the reader closed the connection before the tap was over")
        done += 1
