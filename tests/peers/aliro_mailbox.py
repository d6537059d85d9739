"""A user device's mailbox and what an EXCHANGE does to it.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code.
"""
import aliro_crypto as a


class Malformed(Exception):
    """Answered 0002FFFF; nothing of the command was done."""


class Mailbox:
    def __init__(self, size, readable=True, writable=True, bugs=(), bits=0):
        self.content, self.readable, self.writable, self.bugs = bytearray(size or 0), readable, writable, frozenset(bugs)
        self.collected, self.bits = [], bits

    def drop(self):
        """The session is over: an open atomic session leaves nothing behind."""
        self.collected = []

    def bitmap(self):
        bits = 0x1C00 if not self.bits else self.bits
        if self.content and "fixed-bitmap" in self.bugs:
            bits |= 0x30
        elif self.content:
            bits |= 0x10 * self.readable | 0x20 * self.writable | 8 * any(self.content)
        return bits.to_bytes(2, "big")

    def exchange(self, plain):
        """({tag: value} and the mailbox operations as reads, sets, writes; the answer's plaintext)."""
        try:
            items = a.decode(plain)
            if "strict-tags" in self.bugs and any(tag == 0x99 for tag, _ in items):
                raise ValueError("unknown tag")
            got = a.unique(items, (0xBA, 0xAE, 0x97, 0x98, 0x81))
            if "strict-notify" in self.bugs and 0xAE in got:
                raise ValueError("AE")
            if len(got.get(0x97, b"\0\0")) != 2 or got.get(0x98):
                raise ValueError("length")
            reads = self._operations(got) if 0xBA in got else b""
        except (ValueError, IndexError) as e:
            if "lenient-exchange" in self.bugs:
                return {}, bytes.fromhex("00020000")
            raise Malformed(str(e)) from None
        return got, reads + bytes.fromhex("00020000")

    def _operations(self, got):
        items = a.decode(got[0xBA])
        if not items or items[0][0] != 0x8C or items[0][1] not in (b"\0", b"\1"):
            raise ValueError("8C")
        reads, changes, writes = [], [], []
        for tag, value in items[1:]:
            at = int.from_bytes(value[:2], "big")
            if tag == 0x87 and len(value) == 4:
                self._within(at, int.from_bytes(value[2:], "big"), self.readable)
                reads.append((at, int.from_bytes(value[2:], "big")))
            elif tag == 0x8A and len(value) > 2:
                self._within(at, len(value) - 2, self.writable)
                if "half-done" in self.bugs:
                    self.content[at:at + len(value) - 2] = value[2:]
                writes.append((at, value[2:]))
            elif tag == 0x95 and len(value) == 5:
                n = int.from_bytes(value[2:4], "big")
                self._within(at, n, self.writable)
                changes.append((at, value[4:] * n))
            else:
                raise ValueError("%X" % tag)
        got["reads"], got["sets"], got["writes"] = reads, changes, writes
        answer = b"".join(n.to_bytes(2, "big") + bytes(self.content[at:at + n]) for at, n in reads)
        if "no-sets" in self.bugs:
            changes = []
        if "no-writes" in self.bugs:
            writes = []
        self.collected += changes + writes
        if items[0][1] == b"\0" or "no-atomic" in self.bugs:
            for at, value in self.collected:
                self.content[at:at + len(value)] = value
            self.collected = []
        return answer

    def _within(self, at, n, allowed):
        if not self.content or not allowed and "no-permissions" not in self.bugs:
            raise ValueError("not allowed")
        if at + n > len(self.content) and "no-bounds" not in self.bugs:
            raise ValueError("out of bounds")
