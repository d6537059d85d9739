#!/usr/bin/python3
"""Self-test: every Python phone against every Python lock in process, the refusals, and vectors.json. No pcscd.

Written from docs/protocol.md alone. Exit status 0 when everything held.
"""
import json
import os
import pathlib
import sys
import tempfile
import traceback

import aka_common as aka
import door_crypto as d
import door_lock
import make_vectors as mv
import milenage
import pcsc_lock
import tuak
from aka_lock import AkaLock
from aka_phone import AkaPhone, PhoneSequence
from cr_lock import CrLock
from cr_phone import CrPhone
from usim_card import UsimCard
from usim_host import UsimHost

K_PH = d.k_ph(mv.K_SITE, mv.PHONE)
NOW = 1767225600            # 2026-01-01
GLC = NOW - aka.EPOCH
FIXED = json.loads((pathlib.Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))


def fixed(*values):
    left = list(values)
    return lambda n: left.pop(0) if left else os.urandom(n)


def phone(kind=CrPhone, k_ph=K_PH, **kw):
    events = []
    p = kind(mv.PHONE, k_ph, events.append, **kw)
    p.events = events
    return p


def lock(kind=CrLock, k_ph=K_PH, entry=None, **kw):
    return kind(mv.LOCK, [door_lock.entry_for(mv.PHONE, k_ph, mv.LOCK, **(entry or {}))],
                **{"clock": lambda: NOW, **kw})


def trace(p, log):
    def transmit(c):
        r = p.apdu(c)
        log.append((c, r))
        return r
    return transmit


def hexes(log):
    return [x.hex() for pair in log for x in pair]


def sw(p, hex_or_bytes):
    c = bytes.fromhex(hex_or_bytes) if isinstance(hex_or_bytes, str) else hex_or_bytes
    return p.apdu(c)[-2:].hex().upper()


def select(p):
    r = p.apdu(d.capdu(0, 0xA4, 4, 0, p.aid))
    assert r[-2:] == b"\x90\x00", r.hex()
    return r


def expect(event, verdict, reason, **more):
    for k, v in {"verdict": verdict, "reason": reason, **more}.items():
        assert event[k] == v, event


# vectors ----------------------------------------------------------------------------------------
def test_published_vectors():
    assert milenage.self_test() and tuak.self_test()


def test_vectors_file_is_current():
    assert FIXED == mv.vectors()


def test_cr_vectors_by_phone_and_lock():
    log, v = [], FIXED["challenge-response"]
    e = lock(rng=fixed(mv.RL), clock=lambda: 0x6553F100).tap(trace(phone(rng=fixed(mv.RP)), log))
    expect(e, "open", "opened", apdus=2, sealed=True, control_flow="9000")
    assert hexes(log) == [v[k] for k in ("SELECT", "SELECT response", "AUTHENTICATE", "AUTHENTICATE response",
                                         "CONTROL FLOW opened")] + ["9000"]


def test_aka_vectors_by_phone_and_lock():
    for name in aka.ALGORITHMS:
        v = FIXED["aka-" + name]
        log = []
        e = lock(AkaLock, algorithm=name, rng=fixed(mv.RAND), clock=lambda: aka.EPOCH + mv.SEQ).tap(
            trace(phone(AkaPhone, rng=fixed(mv.RP)), log))
        expect(e, "open", "opened", apdus=2, seq=mv.SEQ, control_flow="9000")
        assert hexes(log) == [v[k] for k in ("SELECT", "SELECT response", "AUTHENTICATE", "AUTHENTICATE response",
                                             "CONTROL FLOW opened")] + ["9000"]
        p = phone(AkaPhone, rng=fixed(mv.RP), floor=mv.SEQ_MS)
        select(p)
        assert p.apdu(bytes.fromhex(v["AUTHENTICATE"])).hex() == v["sequence failure response"]


# challenge-response -----------------------------------------------------------------------------
def test_cr_open_and_user_flag():
    expect(lock(entry={"flags": 1}).tap(phone().apdu), "open", "opened", flags="80000000")
    p = phone(user_authenticated=False)
    expect(lock().tap(p.apdu), "open", "opened", flags="00000000")
    expect(lock(entry={"flags": 1}).tap(p.apdu), "refused", "policy", sealed=True, control_flow="9000")
    assert p.events[-1] == {"event": "control-flow", "code": 9, "reason": "policy", "sealed": True}


def test_cr_wrong_key():
    p = phone(wrong_key=True)
    expect(lock().tap(p.apdu), "refused", "wrong-key", apdus=2, sealed=False, control_flow="9000")
    assert p.events[-1]["reason"] == "wrong-key" and not p.events[-1]["sealed"]


def test_unknown_phone_is_left_alone():
    for kind, lk in ((CrPhone, CrLock), (AkaPhone, AkaLock)):
        log = []
        expect(lock(lk).tap(trace(phone(kind, k_ph=bytes(16)), log)), "refused", "unknown-phone", phone=None)
        assert len(log) == 1


def test_list_rules():
    expect(lock(entry={"not_after": NOW}).tap(phone().apdu), "refused", "not-entitled", apdus=1, control_flow="9000")
    expect(lock(entry={"not_after": NOW + 1}).tap(phone().apdu), "open", "opened")
    expect(lock(entry={"method": 2}).tap(phone().apdu), "refused", "policy", apdus=1)
    expect(lock(AkaLock, entry={"method": 2}).tap(phone(AkaPhone).apdu), "open", "opened")
    expect(lock(AkaLock, entry={"method": 3}).tap(phone(AkaPhone).apdu), "refused", "policy", apdus=1)
    expect(lock(CrLock).tap(phone(AkaPhone).apdu), "refused", "app-missing")
    expect(lock().tap(phone(personalised=False).apdu), "refused", "card-error")


def test_replay():
    """A whole recorded tap: `replay` while the lock remembers RP; a replayed TP alone is `wrong-key`."""
    log, lk = [], lock()
    expect(lk.tap(trace(phone(), log)), "open", "opened")
    recorded = [r for _, r in log]
    expect(lk.tap(lambda c: recorded[0]), "refused", "replay", apdus=1)
    forgetful, answers = lock(), iter(recorded)
    expect(forgetful.tap(lambda c: next(answers)), "refused", "wrong-key", apdus=2, sealed=False)
    p = phone()
    expect(lk.tap(lambda c: recorded[1] if c[1] == 0x88 else p.apdu(c)), "refused", "wrong-key")


def test_lock_remembers_64():
    p, lk = phone(), lock()
    select(p)
    rps = [bytes([i]) * 16 for i in range(65)]
    def at(rp):
        return lk.tap(lambda c: d.fci(d.AID_CR, d.VERSION, rp, d.tag_t(p.k_id, d.VERSION, d.AID_CR, rp)) + b"\x90\0"
                      if c[1] == 0xA4 else b"\x69\x82")["reason"]
    assert [at(r) for r in rps] == ["wrong-key"] * 65
    assert at(rps[1]) == "replay" and at(rps[0]) == "wrong-key"


def test_card_errors():
    good = phone().apdu(d.capdu(0, 0xA4, 4, 0, d.AID_CR))
    def tap(fci_, auth=b"\x69\x82"):
        return lock().tap(lambda c: {0xA4: fci_, 0x88: auth}.get(c[1], b"\x90\0"))["reason"]
    assert tap(b"\x6a\x82") == "app-missing" and tap(b"\x6f\0") == "card-error" and tap(b"\x90\0") == "card-error"
    assert tap(good.replace(b"\x80\x01\x01", b"\x80\x01\x02")) == "card-error"        # version
    assert tap(good) == "wrong-key" and tap(good, b"\x69\x85") == "card-error"
    assert tap(good, bytes(19) + b"\x90\0") == "card-error" and tap(good, bytes(20) + b"\x90\0") == "wrong-key"
    rp, t = good[20:36], good[38:54]
    mixed = d.tlv(0x6F, d.tlv(0xA5, d.tlv(0x82, t) + b"\x9f\x01\x01\0" + d.tlv(0x81, rp) + d.tlv(0x80, b"\1")))
    assert tap(mixed + b"\x90\0") == "wrong-key"                                       # any order, other tags


def test_other_aid():
    p, lk = phone(), lock()
    p.aid = lk.aid = bytes.fromhex("F0010203040506")
    expect(lk.tap(p.apdu), "open", "opened")


def test_cr_status_words():
    p, c = phone(), FIXED["challenge-response"]["AUTHENTICATE"]
    assert sw(p, c) == "6985"
    select(p)
    assert [sw(p, x) for x in ("8088", "80fe0000", "b0880000", "81" + c[2:], "84" + c[2:], "80880100" + c[8:],
                               "80880000" + "01" + "00", "80880000")] == \
        ["6700", "6D00", "6E00", "6881", "6882", "6A86", "6700", "6700"]
    assert sw(p, c) == "6982"            # none of those spent RP; this one does
    assert sw(p, c) == "6985"
    assert sw(p, "00a4040009f0544150444f4f527e00") == "6A82"


def test_second_authenticate():
    p = phone(rng=fixed(mv.RP))
    select(p)
    c = FIXED["challenge-response"]["AUTHENTICATE"]
    assert sw(p, c) == "9000" and sw(p, c) == "6985"


def test_control_flow():
    opened, v = "803c00000100", FIXED["challenge-response"]
    def fresh():
        p = phone(rng=fixed(mv.RP))
        select(p)
        assert sw(p, v["AUTHENTICATE"]) == "9000"
        return p
    p = fresh()
    assert sw(p, opened) == "6A80"
    p = fresh()
    sealed = v["CONTROL FLOW opened"]
    assert sw(p, sealed[:-2] + "00") == "6982" and sw(p, sealed) == "6985"
    p = fresh()
    assert sw(p, sealed) == "9000" and sw(p, sealed) == "6985"
    assert p.events[-2] == {"event": "control-flow", "code": 0, "reason": "opened", "sealed": True}
    p = fresh()
    assert sw(p, "803c02000101") == "6A86" and sw(p, "803c0000020101") == "6700" and sw(p, "803c01000101") == "6700"
    assert sw(p, sealed) == "9000"
    p = fresh()
    select(p)
    assert sw(p, sealed) == "6985"
    assert sw(p, "803c000001" + "0b") == "9000" and sw(p, "803c000001" + "0c") == "6A80"


# AKA, profile P -------------------------------------------------------------------------------------
def test_aka_resynchronisation():
    for name in aka.ALGORITHMS:
        p, lk = phone(AkaPhone, floor=GLC + 3600), lock(AkaLock, algorithm=name)
        expect(lk.tap(p.apdu), "open", "opened", apdus=3, resynchronised_to=GLC + 3600, seq=GLC + 3601)
        expect(lk.tap(p.apdu), "open", "opened", apdus=2, seq=GLC + 3602)
    p, log = phone(AkaPhone, floor=GLC + 3600), []
    lk = lock(AkaLock)
    lk.sequence.resynchronise = lambda phone, seq: None             # a lock that does not learn
    expect(lk.tap(trace(p, log)), "refused", "resync-failed", apdus=3, control_flow="9000")
    assert p.events[-1]["reason"] == "resync-failed"


def test_aka_too_far_ahead():
    p, lk = phone(AkaPhone), lock(AkaLock, clock=lambda: aka.EPOCH + aka.DELTA)
    expect(lk.tap(p.apdu), "open", "opened")                           # exactly 2^28 is not more than 2^28
    p, lk = phone(AkaPhone), lock(AkaLock, clock=lambda: aka.EPOCH + aka.DELTA + 1)
    expect(lk.tap(p.apdu), "open", "opened", apdus=3, seq=1)           # one second more: the lock follows the phone down


def test_aka_clock_before_2025():
    expect(lock(AkaLock, clock=lambda: 0x6553F100).tap(phone(AkaPhone).apdu), "open", "opened", seq=1)


def test_aka_wrong_mac_and_sequence_failure_alike():
    v = bytes.fromhex(FIXED["aka-milenage"]["AUTHENTICATE"])
    bad = v[:36] + bytes([v[36] ^ 1]) + v[37:]                       # within the MAC
    answers = []
    for c in (bad, v):
        p = phone(AkaPhone, floor=mv.SEQ_MS)
        select(p)
        first, second = p.apdu(c), p.apdu(c)                        # one more is allowed after a DC
        assert first[:2] == second[:2] == b"\xdc\x1e" and first[-2:] == second[-2:] == b"\x90\0"
        assert sw(p, c) == "6985"
        answers.append((len(first), len(second)))
    assert answers == [(34, 34)] * 2 and p.k3 is None


def test_aka_wrong_key():
    p = phone(AkaPhone, wrong_key=True)
    expect(lock(AkaLock).tap(p.apdu), "refused", "wrong-key", apdus=2, sealed=False)
    assert p.events[1]["event"] == "wrong-mac" and p.events[-1]["reason"] == "wrong-key"
    p = phone(AkaPhone)
    expect(lock(AkaLock).tap(lambda c: b"\xdb\x08" + bytes(8) + b"\x90\0" if c[1] == 0x88 else p.apdu(c)),
           "refused", "wrong-key")


def test_aka_replay_and_spent():
    v = bytes.fromhex(FIXED["aka-milenage"]["AUTHENTICATE"])
    p = phone(AkaPhone)
    select(p)
    assert p.apdu(v)[:2] == b"\xdb\x08" and sw(p, v) == "6985"
    select(p)
    assert p.apdu(v)[:2] == b"\xdc\x1e"                               # the same AUTN: not fresh
    assert sw(p, v[:3] + b"\2" + v[4:]) == "6A86" and sw(p, v[:4] + b"\x27" + v[6:]) == "6700"
    p = phone(AkaPhone, algorithms=["milenage"])
    select(p)
    assert sw(p, FIXED["aka-tuak"]["AUTHENTICATE"]) == "6984" and p.apdu(v)[:2] == b"\xdb\x08"


def test_aka_user_required_is_policy():
    expect(lock(AkaLock, entry={"flags": 1}).tap(phone(AkaPhone).apdu), "refused", "policy", apdus=1)


def test_aka_floor():
    s = PhoneSequence()
    for i in range(64):
        s.accept("%02x" % i, 1000 + i)
    s.accept("00", 5000)                                            # now 01 is least recently used
    assert s.reference("ff") == 0
    s.accept("40", 10)
    assert s.reference("ff") == 1001 == s.reference("01") and s.reference("00") == 5000


def test_aka_state_is_kept():
    with tempfile.TemporaryDirectory() as tmp:
        a, b = os.path.join(tmp, "phone"), os.path.join(tmp, "lock")
        for n in range(3):
            expect(lock(AkaLock, state=b).tap(phone(AkaPhone, state=a).apdu), "open", "opened", seq=GLC + n)
        p = phone(AkaPhone, state=os.path.join(tmp, "no", "such"))
        expect(lock(AkaLock).tap(p.apdu), "refused", "card-error")
        assert p.events[-2]["sw"] == "6F00"


# AKA, profile U -------------------------------------------------------------------------------------
def usim(host=None, wrong=False, **kw):
    k, opc = mv.run(0x10, 16), mv.run(0x30, 16)
    card = UsimCard(k if not wrong else bytes(16), opc, **kw)
    return card, UsimHost(k, opc, clock=lambda: NOW, **(host or {})), pcsc_lock.complete(card.apdu)


def test_usim():
    for t0 in (False, True):
        for partial in (False, True):
            for pin in (None, "1234"):
                _, host, transmit = usim({"pin": pin, "lock_number": 37}, pin=pin, t0_style=t0, partial_select=partial)
                expect(host.run(transmit), "open", "opened", phone="001010123456789", res_match=True, ck_match=True,
                       ik_match=True)
                expect(host.run(transmit), "open", "opened")


def test_usim_refusals():
    _, host, transmit = usim(wrong=True)
    expect(host.run(transmit), "refused", "wrong-key")
    card, host, transmit = usim({"pin": "4321"}, pin="1234")
    assert [host.run(transmit)["reason"] for _ in range(3)] == ["card-error"] * 3 and card.tries == 0
    _, host, transmit = usim(pin="1234")
    expect(host.run(transmit), "refused", "card-error")


def test_usim_resynchronisation():
    card, host, transmit = usim({"lock_number": 5}, seq=GLC + 60)
    expect(host.run(transmit), "open", "opened", resynchronised_to=GLC + 60)
    assert card.seq_ms[5] == GLC + 61 and card.seq_ms[4] == GLC + 60


def test_usim_published_vectors():
    import published
    for v in (published.load("usim_authenticate.json") or {}).get("vectors", []):
        card = UsimCard(bytes.fromhex(v["K"]), bytes.fromhex(v["OPc"]))
        command = bytes.fromhex(v["command"])
        sqn = aka.open_autn(card.alg, command[6:22], command[23:39])
        seq, ind = int.from_bytes(sqn, "big") >> 5, sqn[-1] & 31
        assert sw(card, command) == "6985"
        card.apdu(d.capdu(0, 0xA4, 4, 4, card.aid))
        if "bad_mac_command" in v:
            assert card.apdu(bytes.fromhex(v["bad_mac_command"])).hex() == v["bad_mac_response"]
        card.seq_ms = [seq - 1] * 32
        assert card.apdu(command).hex() == v["response_success"]
        if "response_sync_failure_if_SQN_MS_equals_SQN" in v:
            card.seq_ms = [0] * 32
            card.seq_ms[ind] = seq
            assert card.apdu(command).hex() == v["response_sync_failure_if_SQN_MS_equals_SQN"]


def main():
    failed, tests = 0, {n: f for n, f in globals().items() if n.startswith("test_")}
    for name, test in tests.items():
        try:
            test()
            print("ok   " + name)
        except Exception:
            failed += 1
            print("FAIL " + name)
            traceback.print_exc(file=sys.stdout)
    print("%d of %d held" % (len(tests) - failed, len(tests)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
