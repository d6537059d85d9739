"""A tiny helper over pyscard: reader by name fragment, card by events, 61xx and 6Cxx. `program:COMMAND` instead of a fragment is a
program that has the card: a C-APDU a line on its standard input, events as JSON on its standard output.

Written from docs/protocol.md alone (section 6 for 61xx and 6Cxx).
"""
import json
import shlex
import subprocess
import time


class NoCard(Exception):
    pass


def complete(send):
    """Wraps send(C-APDU) -> R-APDU: 61xx is followed by GET RESPONSE, 6Cxx by the same command with that Le."""
    def transmit(c):
        r = send(c)
        if len(r) == 2 and r[0] == 0x6C:
            r = send((c[:-1] if len(c) == 5 or (len(c) > 5 and len(c) == 6 + c[4]) else c) + r[1:])
        data = b""
        while r[-2] == 0x61:
            data += r[:-2]
            r = send(bytes([0x00, 0xC0, 0x00, 0x00, r[-1]]))
        return data + r
    return transmit


def open_card(fragment, timeout):
    """Waits (events, no polling) for a card in the first reader whose name holds the fragment."""
    if fragment.startswith("program:"):
        return _Program(shlex.split(fragment.removeprefix("program:")))
    from smartcard import scard as s
    end = time.monotonic() + timeout

    def check(rc):
        if rc != s.SCARD_S_SUCCESS:
            raise NoCard(s.SCardGetErrorMessage(rc))

    while True:    # pcscd itself may still be starting
        rc, ctx = s.SCardEstablishContext(s.SCARD_SCOPE_USER)
        if rc == s.SCARD_S_SUCCESS or time.monotonic() > end:
            break
        time.sleep(0.1)
    check(rc)
    known, name, state = "\\\\?PnP?\\Notification", None, s.SCARD_STATE_UNAWARE
    while True:
        rc, readers = s.SCardListReaders(ctx, [])
        name = next((r for r in readers if fragment.lower() in r.lower()), None) if rc == 0 else None
        left = end - time.monotonic()
        if left <= 0:
            raise NoCard("timeout")
        # bounded waits only: some pcscd builds miss the plug-and-play event
        rc, new = s.SCardGetStatusChange(ctx, int(min(left, 60 if name else 0.5) * 1000),
                                         [(name or known, state if name else s.SCARD_STATE_UNAWARE)])
        if name and rc == s.SCARD_S_SUCCESS:
            state = new[0][1] & ~s.SCARD_STATE_CHANGED
            if state & s.SCARD_STATE_PRESENT and not state & s.SCARD_STATE_MUTE:
                break
        elif not name:
            time.sleep(min(0.1, max(left, 0)))
    rc, card, protocol = s.SCardConnect(ctx, name, s.SCARD_SHARE_EXCLUSIVE,
                                        s.SCARD_PROTOCOL_T0 | s.SCARD_PROTOCOL_T1)
    check(rc)
    return _Card(s, ctx, card, protocol, name)


class _Card:
    def __init__(self, s, ctx, card, protocol, name):
        self.s, self.ctx, self.card, self.protocol, self.name = s, ctx, card, protocol, name
        self.transmit = complete(self.send)

    def send(self, c):
        pci = self.s.SCARD_PCI_T0 if self.protocol == self.s.SCARD_PROTOCOL_T0 else self.s.SCARD_PCI_T1
        rc, r = self.s.SCardTransmit(self.card, pci, list(c))
        if rc != self.s.SCARD_S_SUCCESS or len(r) < 2:
            raise NoCard(self.s.SCardGetErrorMessage(rc) if rc else "no answer")
        return bytes(b & 0xFF for b in r)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.s.SCardDisconnect(self.card, self.s.SCARD_UNPOWER_CARD)
        self.s.SCardReleaseContext(self.ctx)


class _Program:
    def __init__(self, command):
        self.program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.transmit = complete(self.send)
        self._event("card")

    def _event(self, wanted):
        for line in self.program.stdout:
            event = json.loads(line)
            if event["event"] == wanted:
                return event
        raise NoCard(f"the program ended with status {self.program.wait()}")

    def send(self, c):
        try:
            print(c.hex(), file=self.program.stdin, flush=True)
        except OSError as e:
            raise NoCard(str(e)) from None
        return bytes.fromhex(self._event("apdu")["r"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.program.communicate()
