#!/usr/bin/python3
"""Computes the test vectors of docs/protocol.md section 12 from fixed inputs, straight from the formulas.

Written from docs/protocol.md alone. Markdown to stdout; --json prints JSON, --save writes vectors.json beside this file.
"""
import json
import pathlib
import sys

import aka_common as aka
import door_crypto as d
import identity


def run(first, n):
    return bytes(range(first, first + n))


PHONE, LOCK = bytes.fromhex("0102030405060708"), bytes.fromhex("1112131415161718")
K_SITE, RP, RL, RAND = run(0x00, 16), run(0xA0, 16), run(0xB0, 16), run(0xC0, 16)
CLOCK, FLAGS = bytes.fromhex("6553F100"), bytes.fromhex("80000000")
SEQ, SEQ_MS = 0x3000000, 0x3000100
SW = b"\x90\x00"


def sealed_opened(k3):
    return d.capdu(0x80, 0x3C, 1, 0, d.cf_seal(k3, 0), None)


def selecting(k_ph, aid):
    t = d.tag_t(d.k_id(k_ph), d.VERSION, aid, RP)
    return {"T": t, "SELECT": d.capdu(0, 0xA4, 4, 0, aid), "SELECT response": d.fci(aid, d.VERSION, RP, t) + SW}


def keys():
    k_ph = d.k_ph(K_SITE, PHONE)
    return {"phone id": PHONE, "lock id": LOCK, "K_site": K_SITE, "RP": RP, "RL": RL, "RAND": RAND, "clock": CLOCK,
            "flags": FLAGS, "SEQ": SEQ.to_bytes(6, "big"), "SEQ_MS": SEQ_MS.to_bytes(6, "big"), "K_ph": k_ph,
            "K_id": d.k_id(k_ph), "K_l": d.k_l(k_ph, LOCK), "K || OPc": d.k_milenage(k_ph, LOCK),
            "K || TOPc": d.k_tuak(k_ph, LOCK)}


def cr(k_ph):
    k1, k2, k3 = d.cr_keys(d.k_l(k_ph, LOCK), RP, RL, LOCK, PHONE, d.VERSION, d.AID_CR)
    tl = d.ccm_seal(k1, b"L", CLOCK)
    tp = d.ccm_seal(k2, b"P" + tl, FLAGS)
    return {"AID": d.AID_CR, **selecting(k_ph, d.AID_CR), "K1": k1, "K2": k2, "K3": k3, "TL": tl, "TP": tp,
            "AUTHENTICATE": d.capdu(0x80, 0x88, 0, 0, RL + LOCK + tl), "AUTHENTICATE response": tp + SW,
            "CONTROL FLOW opened": sealed_opened(k3)}


def aka_tap(k_ph, name):
    keys = (d.k_milenage if name == "milenage" else d.k_tuak)(k_ph, LOCK)
    alg, half = aka.algorithm(name, keys), len(keys) // 2
    context = d.binding(RP, RAND, LOCK, PHONE, d.VERSION, d.AID_AKA) + bytes([aka.ALGORITHMS[name], 1])
    res, ck, ik, ak = alg.f2345(RAND)
    autn, auts = aka.autn(alg, RAND, aka.sqn_of(SEQ)), aka.auts(alg, RAND, aka.sqn_of(SEQ_MS))
    ka, k3 = d.kdf(d.k_l(k_ph, LOCK), "AKA1", context, 128), d.kdf(ck + ik, "AKA3", context, 128)
    x = d.ccm_seal(ka, b"S", auts)
    return {"AID": d.AID_AKA, **selecting(k_ph, d.AID_AKA), "K": keys[:half],
            "OPc" if name == "milenage" else "TOPc": keys[half:], "SQN": aka.sqn_of(SEQ), "AK": ak, "AUTN": autn,
            "RES": res, "CK": ck, "IK": ik, "K3": k3,
            "AUTHENTICATE": d.capdu(0x80, 0x88, 0, aka.ALGORITHMS[name], RAND + autn + LOCK),
            "AUTHENTICATE response": b"\xdb\x08" + res + SW, "CONTROL FLOW opened": sealed_opened(k3),
            "SQN_MS": aka.sqn_of(SEQ_MS), "AUTS": auts, "KA": ka, "X": x,
            "sequence failure response": b"\xdc\x1e" + x + SW}


def identity_tap():
    k_agent, nonce, e, s = run(0xD0, 16), run(0xE0, 16), identity.private(run(0x21, 32)), identity.private(run(0x51, 32))
    body = identity.conceal("imei", "490154203237518", k_agent, LOCK, nonce, e, s.public_key())
    assert identity.reveal(body, k_agent, LOCK, nonce, s) == ("imei", "490154203237518")
    return {"K_agent": k_agent, "nonce": nonce, "phone's new private key": run(0x21, 32),
            "server's private key": run(0x51, 32), "server key": identity.compressed(s.public_key()),
            "digits": b"490154203237518", "SELECT": d.capdu(0, 0xA4, 4, 0, d.AID_IDENTITY),
            "SELECT response": d.tlv(0x6F, d.tlv(0x84, d.AID_IDENTITY) + d.tlv(0xA5, d.tlv(0x80, d.VERSION))) + SW,
            "GET IDENTITY": d.capdu(0x80, 0xCA, 0, 0, LOCK + nonce), "GET IDENTITY response": body + SW}


def vectors():
    k_ph = d.k_ph(K_SITE, PHONE)
    v = {"keys": keys(), "challenge-response": cr(k_ph), "aka-milenage": aka_tap(k_ph, "milenage"),
         "aka-tuak": aka_tap(k_ph, "tuak"), "identity": identity_tap()}
    return {group: {name: value.hex() for name, value in items.items()} for group, items in v.items()}


def main():
    v = vectors()
    text = json.dumps(v, indent=1) + "\n"
    if "--save" in sys.argv:
        (pathlib.Path(__file__).parent / "vectors.json").write_text(text, encoding="utf-8")
    if "--json" in sys.argv:
        print(text, end="")
    elif "--save" not in sys.argv:
        for group, items in v.items():
            print("### %s\n\n| value | hex |\n|---|---|" % group)
            for name, value in items.items():
                print("| %s | %s |" % (name.replace("|", "\\|"), value.upper()))
            print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
