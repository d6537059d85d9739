#!/usr/bin/python3
"""Manages the chip of a phone at a PC/SC reader, in parts: what is right is done, what is wrong must be refused and change nothing.

The commands are the specification's; the status words that it expects are those of docs/protocol.md section 13. One JSON line a check; exit status 0 when all held.
"""
import argparse
import hashlib
import json
import os
import sys

import door_crypto as d
import gp_host as gp
import gp_scp03
import pcsc_lock

GOOD = gp.GOOD
SECURED, LOCKED = 0x0F, 0x7F
OTHER_SIGNER = "22" * 32


class Checks:
    def __init__(self, transmit, a):
        self.host, self.a, self.failed = gp.Host(transmit, a.keys, a.s16), a, 0
        with open(a.applet, "rb") as f:
            self.code = f.read()
        self.elf, self.version = gp.declared(self.code)
        self.module, self.application = self.elf + b"\x01", d.AID_CR

    def note(self, name, ok, **more):
        self.failed += not ok
        print(json.dumps({"check": name, "ok": bool(ok), **more}), flush=True)

    def is_sw(self, name, got, want=GOOD):
        self.note(name, got == want, sw=got, want=want)

    def is_refused(self, name, want, f, *a, **kw):
        try:
            got = f(*a, **kw)
            self.note(name, False, got=str(got), want=want)
        except gp.Refused as e:
            self.note(name, e.sw == want, sw=e.sw, want=want)
        except gp_scp03.ChannelError as e:
            self.note(name, str(e) == want, got=str(e), want=want)

    def load_files(self):
        return self.host.open().status(gp.LOAD_FILES)

    # --- parts ---

    def levels(self):
        h = self.host
        for level in gp_scp03.LEVELS:
            h.open(level)
            answers = [h.send(0xCA, 0x00, 0x66), h.send(0xF2, gp.ISD, 0x02, b"\x4f\0"), h.send(0xCA, 0x00, 0xE0)]
            self.note("level %02X: three commands, answers as protected as agreed" % level,
                      [sw for _, sw in answers] == [GOOD] * 3 and all(data for data, _ in answers),
                      i="%02X" % h.channel.i)
            aid, fields = next(iter(h.status(gp.ISD).items()))
            self.note("level %02X: the card manager is SECURED" % level,
                      aid == gp.MANAGER and fields[0x9F70][0] == SECURED)
            want = GOOD if level & 1 else "6982"
            # To what it is already, so that nothing changes.
            self.is_sw("level %02X: what changes something needs a C-MAC" % level,
                       h.sw(0xE6, 0x20, 0x00, gp.lv(b"", b"", gp.MANAGER, b"", b"", b"")), want)
            if level & gp_scp03.R_MAC:
                _, sw = h.send(0xE4, 0x00, 0x00, gp.ber(0x4F, b"\xF0NOTHING"))
                self.is_sw("level %02X: an error comes without data" % level, sw, "6A88")
                self.is_sw("level %02X: and the chain goes on after it" % level, h.get_data(0x66)[1])
        counters = []
        for _ in range(2):
            h.open(0x33)
            counters.append(int.from_bytes(h.channel.sequence, "big"))
        self.note("the sequence counter counts", counters[1] == counters[0] + 1, counters=counters)

    def refusals(self):
        h = self.host
        h.select()
        for name, ins, p1, p2, data in (("GET STATUS", 0xF2, 0x40, 2, b"\x4f\0"), ("INSTALL", 0xE6, 2, 0, bytes(5)),
                                        ("LOAD", 0xE8, 0x80, 0, b"\xc4\0"), ("DELETE", 0xE4, 0, 0, gp.ber(0x4F, self.elf)),
                                        ("STORE DATA", 0xE2, 0x90, 0, b"\xe7\0"), ("PUT KEY", 0xD8, 0, 0x81, b"\x31"),
                                        ("SET STATUS", 0xF0, 0x80, 0x7F, b"")):
            self.is_sw(name + " without a channel", h.sw(ins, p1, p2, data), "6982")
        self.is_sw("GET DATA without a channel", h.get_data(0x66)[1])
        self.is_sw("EXTERNAL AUTHENTICATE out of the blue", h.raw(bytes.fromhex("8482330010") + bytes(16))[1], "6985")
        self.is_refused("a key version that is not there", "6A88", h.initialize, kvn=0x3E)
        self.is_refused("a challenge of the wrong length", "6700", h.initialize, s16=not self.a.s16)
        k = h.keys
        wrong = gp_scp03.KeySet(k.kvn, k.enc, bytes(16), k.dek)
        self.is_refused("wrong Key-MAC: the host sees it", "card cryptogram", h.open, keys=wrong)
        channel, _ = h.initialize()
        channel.host_cryptogram = bytes(len(channel.host_cryptogram))
        self.is_sw("wrong host cryptogram", h.raw(channel.external_authenticate(0x33))[1], "6300")
        channel, _ = h.initialize()
        c = channel.external_authenticate(0x33)
        self.is_sw("wrong MAC of EXTERNAL AUTHENTICATE", h.raw(c[:-1] + bytes([c[-1] ^ 1]))[1], "6982")
        self.is_sw("and the right one after it is too late", h.raw(c)[1], "6985")
        for level in (0x02, 0x10, 0x21, 0x31, 0xFF):
            channel, _ = h.initialize()
            self.is_sw("level %02X, which there is not" % level, h.raw(channel.external_authenticate(level))[1], "6A86")

        get_status = d.capdu(0x80, 0xF2, gp.ISD, 0x02, b"\x4f\0")

        def after(name, level, spoil):
            """`spoil(channel)` gives what is sent; whatever it is, the channel is gone."""
            h.open(level)
            self.is_sw(name, h.raw(spoil(h.channel))[1], "6982")
            self.is_sw(name + ", and the channel is gone", h.raw(h.channel.wrap(get_status))[1], "6982")

        def flipped(at):
            def spoil(channel):
                c = bytearray(channel.wrap(get_status))
                c[at] ^= 1
                return bytes(c)
            return spoil

        for level in (0x01, 0x33):
            name = "level %02X: " % level
            after(name + "a wrong MAC", level, flipped(-2))
            after(name + "a changed P1", level, flipped(2))
            after(name + "changed data", level, flipped(5))
            after(name + "no MAC at all", level, lambda channel: get_status)
        after("level 33: enciphered under another counter", 0x33, lambda channel: self.skip(channel, get_status))

        def replay(channel):
            c = channel.wrap(get_status)
            self.is_sw("level 33: a command", h.raw(c)[1])
            return c

        after("level 33: the same command again", 0x33, replay)

        def reordered(channel):
            channel.wrap(get_status)
            return channel.wrap(get_status)

        after("level 33: the second command before the first", 0x33, reordered)
        h.open(0x33)
        h.raw(d.capdu(0x00, 0xA4, 0x04, 0x00, gp.MANAGER))
        self.is_sw("SELECT ends the channel", h.raw(h.channel.wrap(get_status))[1], "6982")
        first, _ = h.initialize()
        old = first.external_authenticate(0x33)
        h.initialize()
        self.is_sw("EXTERNAL AUTHENTICATE of another session", h.raw(old)[1], "6300")

    @staticmethod
    def skip(channel, c):
        """Enciphered under a later counter than the next one, with the right MAC.

        One in some 250 later counters deciphers to something that ends like padding, and is then refused for what it says: those are passed over.
        """
        def icv(counter):
            return gp_scp03.ecb(channel.s_enc, counter.to_bytes(16, "big"))

        right = channel.counter + 1
        later = right + 1
        # The command's data are shorter than a block, so the last byte of the padded block is 00.
        while icv(right)[15] ^ icv(later)[15] in (0x00, 0x80):
            later += 1
        channel.counter = later - 1
        return channel.wrap(c)

    def loads(self):
        h, code, elf = self.host, self.code, self.elf
        before = self.load_files()
        signer = self.a.signer
        digest = hashlib.sha256(code).digest()

        def refused(name, want, file=None, code=code, **kw):
            h.open()
            sw = h.install_for_load(elf, code, **{"version": self.version, **kw})
            if sw == GOOD:
                sw = h.load(gp.load_file(code, signer) if file is None else file)
            self.is_sw(name, sw, want)

        refused("unsigned", "6982", gp.load_file(code))
        refused("signed by a stranger", "6982", gp.load_file(code, OTHER_SIGNER))
        refused("signed for another security domain", "6982", gp.load_file(code, signer, domain=d.AID_CR))
        other = code[:-1] + bytes([code[-1] ^ 1])
        signed = gp.load_file(code, signer)
        refused("another one's signature", "6A80", signed[:-1] + other[-1:])
        refused("another one's signature, and its hash", "6982", signed[:-1] + other[-1:], digest=hashlib.sha256(other).digest())
        refused("no hash", "6A80", digest=b"")
        refused("another hash", "6A80", digest=bytes([digest[0] ^ 1]) + digest[1:])
        refused("larger than announced", "6A80", size=len(code) - 1)
        refused("larger than there is room for", "6A84", size=1 << 24)
        refused("another security domain", "6A88", domain=b"\xF0NOBODY")
        refused("another version than the code has", "6A80", version=b"\x09\x09")
        refused("not WebAssembly", "6A80", code=os.urandom(600))
        refused("cut off", "6A80", signed[:-300])
        refused("more behind it", "6A80", signed + b"\0")
        refused("lengths that lie", "6A80", b"\xc4\x85\xff\xff\xff\xff\xff" + signed[5:])
        h.open()
        self.is_sw("LOAD without INSTALL [for load]", h.load(signed), "6985")
        h.open()
        self.is_sw("blocks out of order: INSTALL [for load]", h.install_for_load(elf, code, self.version))
        _, n, piece = next(h.blocks(signed))
        self.is_sw("blocks out of order", h.sw(0xE8, 0x00, n + 1, piece), "6985")
        h.open()
        h.install_for_load(elf, code, self.version)
        for p1, n, piece in list(h.blocks(signed))[:-1]:
            h.sw(0xE8, p1, n, piece)
        self.note("nothing of all that is on the chip", self.load_files() == before)
        self.is_sw("and the rest of a load whose channel has ended is nobody's", h.sw(0xE8, p1, n + 1, piece), "6985")

    def install(self):
        h, app = self.host, self.application
        h.open()
        self.is_sw("load, in blocks, signed", h.load_whole(self.code, self.a.signer))
        self.is_sw("the same version again", h.load_whole(self.code, self.a.signer), "6985")
        modules = h.status(gp.MODULES)
        self.note("GET STATUS tells load file, version and modules",
                  self.elf in modules and modules[self.elf][0xCE] == self.version and 0x84 in modules[self.elf])
        self.is_sw("a module that is not there", h.install(0x04, self.elf, self.elf + b"\x7f", app), "6A88")
        self.is_sw("a load file that is not there", h.install(0x04, b"\xF0NOTHING", b"", app), "6A88")
        self.is_sw("privileges that nobody has", h.install(0x04, self.elf, self.module, app, privileges=b"\x80"), "6A80")
        self.is_sw("INSTALL [for install]", h.install(0x04, self.elf, self.module, app))
        self.note("it is INSTALLED", h.state(app) == 0x03, state=h.state(app))
        self.is_sw("the same AID again", h.install(0x04, self.elf, self.module, app), "6985")
        self.is_sw("it cannot be selected yet", h.select(app)[1], "6A82")
        h.open()
        self.is_sw("STORE DATA that begins with block 1", h.sw(0xE2, 0x90, 1, b""), "6985")
        self.is_sw("INSTALL [for personalization] of nobody", h.personalise(b"\xF0NOTHING"), "6A88")
        key = h.key_object(1, self.a.k_ph)
        self.is_sw("a key of the wrong length", h.personalise(app, key[:1] + bytes([key[1] - 1]) + key[2:-1]), "6A80")
        self.is_sw("personalise, in two blocks", h.personalise(
            app, gp.ber(0x80, self.a.phone_id) + gp.ber(0x81, bytes.fromhex("80000000")),
            h.key_object(1, self.a.k_ph) + h.key_object(2, d.k_id(self.a.k_ph))))
        self.is_sw("INSTALL [for make selectable]", h.install(0x08, b"", b"", app))
        self.note("it is selectable and personalised", h.state(app) == 0x0F, state=h.state(app))
        self.is_sw("make selectable once more", h.install(0x08, b"", b"", app), "6985")
        data, sw = h.select(app)
        self.note("it answers SELECT with its own FCI", sw == GOOD and gp.ber(0x84, app) in data, sw=sw)

    def upgrade(self):
        h = self.host
        new = gp.as_version(self.code, b"\x01\x01")
        h.open()
        self.is_sw("an older version", h.load_whole(gp.as_version(self.code, b"\x00\x09"), self.a.signer), "6985")
        self.is_sw("a newer version", h.load_whole(new, self.a.signer))
        self.note("GET STATUS has the new version", h.status(gp.LOAD_FILES)[self.elf][0xCE] == b"\x01\x01")
        self.is_sw("and now the old one is a downgrade", h.load_whole(self.code, self.a.signer), "6985")
        self.is_sw("a downgrade that says nothing of its version", h.load_whole(self.code, self.a.signer, version=None), "6985")
        self.note("the application is as it was", h.state(self.application) == 0x0F)

    def status(self):
        h, app = self.host, self.application
        h.open()
        self.is_sw("lock the application", h.set_status(0x40, 0x80, app))
        self.is_sw("it is not there for SELECT", h.select(app)[1], "6A82")
        h.open()
        self.note("GET STATUS has it, locked", h.state(app) == 0x8F, state=h.state(app))
        self.is_sw("unlock it", h.set_status(0x40, 0x00, app))
        self.is_sw("it is there again", h.select(app)[1])
        h.open()
        self.is_sw("a state that there is not", h.set_status(0x80, 0x55), "6A80")
        self.is_sw("back to OP_READY", h.set_status(0x80, 0x01), "6985")
        self.is_sw("lock the card", h.set_status(0x80, LOCKED))
        self.is_sw("a locked card takes no DELETE", h.delete(self.elf, True), "6985")
        self.is_sw("no application of a locked card can be selected", h.select(app)[1], "6A82")
        self.is_sw("its card manager can, with a warning", h.select()[1], "6283")
        h.open()
        self.is_sw("unlock the card", h.set_status(0x80, SECURED))
        self.is_sw("the application is there again", h.select(app)[1])

    def delete(self):
        h, app = self.host, self.application
        h.open()
        self.is_sw("what is not there", h.delete(b"\xF0NOTHING"), "6A88")
        self.is_sw("the card manager", h.delete(gp.MANAGER), "6985")
        self.is_sw("what the configuration brought", h.delete(d.AID_IDENTITY), "6985")
        self.is_sw("a load file that is in use", h.delete(self.elf), "6985")
        self.note("and it is all there", self.elf in h.status(gp.LOAD_FILES) and h.state(app) == 0x0F)
        self.is_sw("with all that is made of it", h.delete(self.elf, related=True))
        self.note("all is gone", self.elf not in h.status(gp.LOAD_FILES) and h.state(app) is None)
        self.is_sw("SELECT does not find it", h.select(app)[1], "6A82")

    def keys(self):
        h, old = self.host, self.host.keys
        new = gp_scp03.KeySet(0x31, *(os.urandom(len(old.enc)) for _ in range(3)))
        h.open()
        data, _ = old.put_key_data(new)
        self.is_sw("a wrong check value", h.sw(0xD8, 0, 0x81, data[:-1] + bytes([data[-1] ^ 1])), "6A80")
        self.is_sw("half a key set", h.sw(0xD8, 0, 0x01, data[:1 + 3 + len(old.enc) + 4]), "6A80")
        self.is_sw("to replace what is not there", h.sw(0xD8, 0x3E, 0x81, data), "6A88")
        self.is_sw("a version number that is not for SCP03", h.sw(0xD8, 0, 0x81, b"\x20" + data[1:]), "6A80")
        sw, right = h.put_keys(new, old.kvn)
        self.note("PUT KEY, in place of the old set", sw == GOOD and right, sw=sw)
        self.is_refused("the old version number", "6A88", h.open, keys=old)
        stale = gp_scp03.KeySet(0, old.enc, old.mac, old.dek)
        self.is_refused("the old keys under any number", "card cryptogram", h.open, keys=stale)
        h.open(keys=new)
        info = dict((v[0:2], v[2:]) for t, v in d.tlvs(dict(d.tlvs(h.get_data(0xE0)[0]))[0xE0]) if t == 0xC0)
        self.note("GET DATA lists the new set alone",
                  {k for k in info if k[1] & 0xF0 == 0x30} == {bytes([n, new.kvn]) for n in (1, 2, 3)})
        self.is_sw("the last key set cannot be deleted", h.delete_key(new.kvn), "6985")
        sw, right = h.put_keys(old)
        self.note("the old set beside it", sw == GOOD and right, sw=sw)
        self.is_sw("the set in use cannot be deleted", h.delete_key(new.kvn), "6985")
        h.open(keys=old)
        self.is_sw("the other one can", h.delete_key(new.kvn))
        self.is_refused("and is gone", "6A88", h.initialize, keys=new, kvn=new.kvn)
        h.open(keys=old)
        self.is_sw("another provider's key", h.put_provider(gp.uncompressed(OTHER_SIGNER)))
        self.is_sw("and what it signs is taken", h.load_whole(self.code, OTHER_SIGNER))
        self.is_sw("clean up", h.delete(self.elf, related=True))
        self.is_sw("clean up", h.delete_key(0x73))
        self.is_sw("without the key it is not taken any more", h.load_whole(self.code, OTHER_SIGNER), "6982")

    def lasts(self):
        """After a restart of the phone."""
        h = self.host.open()
        self.note("the load file is there", h.status(gp.LOAD_FILES)[self.elf][0xCE] == b"\x01\x01")
        self.note("and its application", h.state(self.application) == 0x0F)

    def terminate(self):
        h = self.host.open()
        self.is_sw("terminate the card", h.set_status(0x80, 0xFF))
        self.is_sw("the card manager is gone", h.select()[1], "6A82")
        self.is_sw("and all applications", h.select(d.AID_IDENTITY)[1], "6A82")


PARTS = ("levels", "refusals", "loads", "install", "upgrade", "lasts", "status", "delete", "keys", "terminate")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("part", choices=PARTS)
    p.add_argument("--reader", required=True, metavar="FRAGMENT")
    p.add_argument("--config", required=True, metavar="FILE", help="phone.toml, for [chip] and the phone's id")
    p.add_argument("--k-ph", type=bytes.fromhex, metavar="HEX", help="goes into the application")
    p.add_argument("--applet", required=True, metavar="FILE", help="challenge-response.wasm")
    p.add_argument("--signer", required=True, metavar="HEX", help="the provider's P-256 key")
    p.add_argument("--s16", action="store_true")
    p.add_argument("--time-out", type=float, default=15.0, metavar="S")
    a = p.parse_args()
    import tomllib
    with open(a.config, "rb") as f:
        phone = tomllib.load(f)
    chip = phone["chip"]
    a.phone_id = bytes.fromhex(phone["id"])
    a.keys = gp_scp03.KeySet(chip["kvn"], *(bytes.fromhex(chip[name]) for name in ("enc", "mac", "dek")))
    try:
        with pcsc_lock.open_card(a.reader, a.time_out) as card:
            c = Checks(card.transmit, a)
            try:
                getattr(c, a.part)()
            except (gp.Refused, gp_scp03.ChannelError) as e:
                c.note(a.part + ": goes on", False, problem=str(e))
    except pcsc_lock.NoCard as e:
        print(json.dumps({"check": "card", "ok": False, "problem": str(e)}), flush=True)
        return 1
    return 1 if c.failed else 0


if __name__ == "__main__":
    sys.exit(main())
