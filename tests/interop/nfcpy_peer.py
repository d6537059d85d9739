"""nfcpy at the other end: a reader of our phone, a card and a peer for our reader.

    nfcpy_peer.py read DEVICE C-APDU=R-APDU...     activates a type 4 tag, sends each and expects each (hexadecimal; N* repeats a byte)
    nfcpy_peer.py rate DEVICE C-APDU COUNT         APDUs per second
    nfcpy_peer.py card DEVICE IDM PMM SYSTEM       a type F card, until it is ended
    nfcpy_peer.py target DEVICE GENERAL            a target of NFC-DEP that sends back what it is sent, until it is ended
    nfcpy_peer.py initiator DEVICE RATE GENERAL N,N,...   sends so many bytes and expects them back

DEVICE is nfcpy's path: udp:HOST:PORT, tty:NAME:pn532. Prints one JSON object a line, as tapdoor does.
"""

import json
import sys
import time

import nfc
import nfc.clf
import nfc.dep
import nfc.tag
import nfc.tag.tt4


def tell(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def data(text):
    """Hexadecimal; `AB*300` is AB three hundred times."""
    out = b""
    for part in text.split("+"):
        byte, star, count = part.partition("*")
        out += bytes.fromhex(byte) * (int(count) if star else 1)
    return out


def activate(clf):
    """A type 4 tag. Its RATS has 30 ms, which a busy machine can miss."""
    last = "no target"
    for _ in range(20):
        target = clf.sense(nfc.clf.RemoteTarget("106A"))
        if target is None:
            time.sleep(0.1)
            continue
        try:
            return target, nfc.tag.tt4.Type4ATag(clf, target)
        except nfc.clf.CommunicationError as error:
            last = repr(error)
    raise SystemExit(f"no type 4 tag was activated: {last}")


def read(clf, *pairs):
    target, tag = activate(clf)
    tell("activated", uid=target.sdd_res.hex(), atqa=target.sens_res.hex(), sak=target.sel_res.hex())
    good = True
    for pair in pairs:
        command, expected = (data(text) for text in pair.split("="))
        answer = bytes(tag.transceive(command, timeout=2.0))
        same = answer == expected
        good &= same
        tell("apdu", c=command.hex(), r=answer.hex(), expected=same)
    return 0 if good else 1


def rate(clf, command, count):
    _, tag = activate(clf)
    command, count, rates = data(command), int(count), []
    tag.transceive(command, timeout=2.0)
    for _ in range(5):
        begun = time.monotonic()
        for _ in range(count):
            tag.transceive(command, timeout=2.0)
        rates.append(count / (time.monotonic() - begun))
    tell("bench", name="nfcpy", apdus=count, per_second=sorted(rates)[2])
    return 0


def card(clf, idm, pmm, system):
    target = nfc.clf.LocalTarget("212F", sensf_res=b"\x01" + data(idm) + data(pmm) + data(system))
    tell("ready")
    while True:
        clf.listen(target, timeout=1.0)


def target(clf, general):
    tell("ready")
    while True:
        peer = nfc.dep.Target(clf)
        theirs = peer.activate(timeout=1.0, gbt=data(general))
        if theirs is None:
            continue
        tell("attached", general=bytes(theirs).hex(), rate=peer.target.brty)
        received = peer.exchange(None, timeout=5.0)
        while received is not None:
            tell("exchange", received=len(received))
            received = peer.exchange(received, timeout=5.0)
        tell("released")


def initiator(clf, kbps, general, lengths):
    peer = nfc.dep.Initiator(clf)
    options = {"brs": {"106": 0, "212": 1, "424": 2}[kbps], "acm": False, "gbi": data(general)}
    for _ in range(20):
        theirs = peer.activate(None, **options)
        if theirs is not None:
            break
        peer = nfc.dep.Initiator(clf)
    else:
        raise SystemExit("no target")
    tell("attached", general=bytes(theirs).hex(), rate=peer.target.brty)
    good = True
    for length in map(int, lengths.split(",")):
        sent = bytes(n % 251 for n in range(length))
        received = bytes(peer.exchange(sent, timeout=5.0))
        good &= received == sent
        tell("exchange", sent=length, received=len(received), echoed=received == sent)
    peer.deactivate()
    return 0 if good else 1


def main():
    role, path, *rest = sys.argv[1:]
    with nfc.ContactlessFrontend(path) as clf:
        work = {"read": read, "rate": rate, "card": card, "target": target, "initiator": initiator}[role]
        sys.exit(work(clf, *rest))


main()
