"""A reader with faults of understanding, by name: what the checklist for a reader must be able to see.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code.
"""
import aliro_crypto as a
import aliro_reader as ar


class FaultyReader(ar.Reader):
    bugs = frozenset()

    def select(self, aid=a.AID):
        if "any-fci" not in self.bugs:
            inside = super().select(aid)
            if "first-version-only" in self.bugs:
                self.versions = self.versions[:1]
            return inside
        data = self.whole(a.SELECT, *self.raw(a.capdu(0x00, a.SELECT, 4, 0, aid)))
        self.channel, self.a5, self.versions = None, data[13:], [a.VERSION]
        return {}

    def auth0_items(self, *args, **more):
        if "repeats-transaction-and-key" in self.bugs:
            self.rng, self.ephemeral = bytes, lambda: self.key
        items = super().auth0_items(*args, **more)
        if "wrong-salt" in self.bugs:
            self.t.interface = 0xC3
        if "own-key-in-salts" in self.bugs:
            self.t.group_key = a.public(self.key)
        return items

    def auth0_answer(self, data):
        if "any-point" in self.bugs:
            self.t.device_ephemeral = dict(a.decode(data))[0x86]
            return dict(a.decode(data)).get(0x9D)
        if "any-cryptogram" in self.bugs:
            got = dict(a.decode(data))
            super().auth0_answer(a.encode([(0x86, got[0x86])] + ([(0x9D, bytes(64))] if self.t.cp == a.FAST else [])))
            return got.get(0x9D)
        sealed = super().auth0_answer(data)
        if "ignores-b2" in self.bugs:
            self.t.b2 = b""
        return sealed

    def status(self, code):
        if "chases-61" not in self.bugs:
            return super().status(code)
        return self.exchange(a.tlv(0x97, code.to_bytes(2, "big")))

    def auth1_answer(self, sealed, credential_of=None):
        got = super().auth1_answer(sealed, credential_of)
        if "strict-tags-of-auth1" in self.bugs and 0x4B in got:
            raise ar.Wrong("private data")
        return got

    def fast(self, cryptogram, cache):
        if "zero-timestamps" in self.bugs:
            return None
        credential = super().fast(cryptogram or b"", cache)
        if credential is None and "any-cryptogram-opens" in self.bugs and cache:
            credential = cache[0][0]
            self.channel = _Deaf()
        if credential is None and "gives-up-on-a-miss" in self.bugs:
            raise ar.Wrong("a miss")
        return credential

    def whole(self, ins, data, sw, cla=0x00):
        if "no-get-response" in self.bugs and sw[:2] == "61":
            raise ar.Wrong("an unknown status word %s" % sw)
        return super().whole(ins, data, sw, cla)

    def exchange(self, plain, **more):
        if "any-exchange" not in self.bugs:
            return super().exchange(plain, **more)
        self.raw(a.capdu(0x80, a.EXCHANGE, 0, 0, self.channel.seal(plain)))
        return bytes.fromhex("00020000")

    def control_flow(self, s1=0, s2=0):
        if "le-in-control-flow" in self.bugs:
            self.raw(a.capdu(0x80, a.CONTROL_FLOW, 0, 0, a.encode([(0x41, bytes([s1])), (0x42, bytes([s2]))]), 0))
        else:
            super().control_flow(s1, s2)


class _Deaf:
    """A channel without keys that is content with everything."""
    def seal(self, plain):
        return plain + bytes(16)

    def open(self, sealed):
        return bytes.fromhex("00020000")
