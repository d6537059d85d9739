#!/usr/bin/env bash
# Our readers and other people's, at the same phones: nfcpy reads our phone and plays cards and peers for our reader; the lock opens
# through our PN532 driver, through libnfc and through an ACR122U in raw mode. Rates are shown as ratios, not judged: this machine may
# be busy.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
need_peers
for python in ${NFCPY_PYTHON:+"$NFCPY_PYTHON"} python3 "$ROOT/target/nfcpy/bin/python"; do
    if "$python" -c 'import nfc.dep' >/dev/null 2>&1; then NFCPY=$python && break; fi
done
if [ -z "${NFCPY:-}" ]; then
    skip "$SUITE" 'nfcpy is missing (scripts/install-deps interop)'
    exit 0
fi
need_ifd
in_private_pcscd "$@"
make_site
cd -- "$WORK" || exit 1

# What `bench link` sends too: SELECT of the card manager.
SELECT=00a4040000
LIBNFC=yes
"$TAPDOOR" readers --help >/dev/null
case $("$TAPDOOR" apdu --reader libnfc:pn532_uart:/nowhere --wait 1 00 2>&1) in *'this build has no libnfc'*) LIBNFC= ;; esac
nfcpy() { timeout --kill-after=5 120 "$NFCPY" "$HERE/nfcpy_peer.py" "$@"; }
free_port() { "$PEER_PYTHON" -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# phone_at SERVE OPTION...: our phone there, and ready.
phone_at() {
    stop phone
    start phone "$TAPDOOR" --json phone --config "$SITE/phone.toml" --no-server --serve "$@"
    PHONE=$(wait_event phone ready)
}
# alone FUNCTION...: what it starts ends with it; `check` runs it in a shell of its own.
alone() {
    "$@"
    local status=$? name
    for name in "${!CHILDREN[@]}"; do stop "$name"; done
    return "$status"
}
listens() { printf '%s\n' "$PHONE" | sed 's/.*"listen": *"\([^"]*\)".*/\1/'; }

# opens READER OPTION...: one tap of our lock there.
opens() {
    timeout --kill-after=5 60 "$TAPDOOR" --json lock --config "$SITE/lock.toml" --no-server --reader "$1" --once "${@:2}" \
        >"$WORK/lock.log" 2>"$WORK/lock.err" </dev/null
    local status=$?
    cat "$WORK/lock.err" >&2
    has "$(last lock tap)" verdict=open apdus=2 || { cat "$WORK/lock.log" "$WORK/lock.err" && return 1; }
    [ "$status" = 0 ] || { echo "exit status $status" && return 1; }
}
# opens_when_it_comes READER SERVE: the lock waits first, and the phone comes when it is ready.
opens_when_it_comes() {
    stop phone
    start waiting "$TAPDOOR" --json lock --config "$SITE/lock.toml" --no-server --reader "$1" --once
    wait_event waiting ready >/dev/null || return
    phone_at "$2" || return
    join waiting 30 || { cat "$WORK/waiting.log" "$WORK/waiting.err" && return 1; }
    has "$(last waiting tap)" verdict=open
}

# --- UDP -------------------------------------------------------------------------------------------------------------

phone_at udp:127.0.0.1:0
UDP=udp:$(listens)
check 'udp: the lock opens' opens "$UDP"
check 'udp: the lock opens, and its frames are on the tape' opens "$UDP" --record "$WORK/udp.tape"
frames() { # TAPE: what must be there
    local seen
    for seen in '"mode":"raw"' '"layer":"rf".*"data":"52"' '"data":"e0' '"layer":"apdu"'; do
        grep -q "$seen" "$1" || { echo "no $seen" && cat "$1" && return 1; }
    done
}
check 'udp: the tape begins with the request that found the phone' frames "$WORK/udp.tape"
UDP_PORT=$(free_port)
check 'udp: the phone may come later' alone opens_when_it_comes "udp:127.0.0.1:$UDP_PORT" "udp:127.0.0.1:$UDP_PORT"

# 300 bytes each way: blocks in chains, in both directions.
phone_at udp:127.0.0.1:0 --lab "answer=$(printf 'ab%.0s' {1..300})9000"
check 'nfcpy over UDP: activation, RATS, ISO-DEP, and 300 bytes each way' \
    nfcpy read "udp:$(listens)" "00d6000000012c+cd*300=ab*300+9000" "00a4040000=ab*300+9000"

card_is_seen() {
    local port
    port=$(free_port)
    start card "$NFCPY" "$HERE/nfcpy_peer.py" card "udp:127.0.0.1:$port" 0102030405060708 1122334455667788 12fc
    wait_event card ready >/dev/null || return
    "$TAPDOOR" --json dep --poll "127.0.0.1:$port" >"$WORK/poll.log" || return
    stop card
    has "$(last poll card)" technology=F id=0102030405060708 parameters=1122334455667788 system=12fc
}
check "nfcpy's NFC-F card: our reader sees its identifier" alone card_is_seen

LENGTHS=1,2,64,249,250,251,252,500,1000,1999,2000
we_initiate() { # RATE [FOUND-AT]
    local port
    port=$(free_port)
    start target "$NFCPY" "$HERE/nfcpy_peer.py" target "udp:127.0.0.1:$port" 46666d010113
    wait_event target ready >/dev/null || return
    "$TAPDOOR" --json dep --initiator "127.0.0.1:$port" --rate "$1" --find-at "${2:-$1}" --general 010203 --bytes "$LENGTHS" >"$WORK/dep.log" || {
        cat "$WORK/target.log" "$WORK/target.err" && return 1
    }
    wait_event target released >/dev/null || return
    stop target
    has "$(last target attached)" general=010203 && [ "$(events dep exchange)" = 11 ] && has "$(last dep attached)" general=46666d010113
}
for rate in 106 212 424; do
    check "NFC-DEP: our initiator at nfcpy's target, $rate kbit/s, 1 to 2000 bytes" alone we_initiate "$rate"
done
check "NFC-DEP: our initiator, found at 106 kbit/s and then by PSL at 424" alone we_initiate 424 106
they_initiate() { # RATE
    start echo "$TAPDOOR" --json dep --target 127.0.0.1:0 --general 46666d010113
    PHONE=$(wait_event echo ready) || return
    nfcpy initiator "udp:$(listens)" "$1" 010203 "$LENGTHS" || return
    stop echo INT
    has "$(last echo summary)" exchanges=11
}
for rate in 106 212 424; do
    check "NFC-DEP: nfcpy's initiator at our target, $rate kbit/s, 1 to 2000 bytes" alone they_initiate "$rate"
done

# --- a PN532 on a pseudo-terminal ------------------------------------------------------------------------------------

LINE=$WORK/pn532
phone_at "pn532:$LINE"
check 'pn532: the lock opens, raw' opens "pn532:$LINE" --record "$WORK/raw.tape"
check 'pn532: the tape has the frames' frames "$WORK/raw.tape"
check 'pn532: the lock opens, ISO-DEP in the firmware' opens "pn532:$LINE,firmware" --record "$WORK/firmware.tape"
no_frames() { grep -q '"mode":"pcsc"' "$1" && ! grep -q '"layer":"rf"' "$1"; }
check 'pn532: that tape says so, and has no frames' no_frames "$WORK/firmware.tape"
two_taps() { # a phone that leaves when it is told the verdict, and comes back
    phone_at "pn532:$LINE" --retap
    timeout --kill-after=5 60 "$TAPDOOR" --json lock --config "$SITE/lock.toml" --no-server --reader "pn532:$LINE" --count 3 >"$WORK/lock.log" 2>&1
    [ "$(grep -c '"verdict":"open"' "$WORK/lock.log")" = 3 ] || { cat "$WORK/lock.log" && return 1; }
}
check 'pn532: taps one after the other' alone two_taps
one_at_a_time() {
    phone_at "pn532:$LINE,after=600"
    start waiting "$TAPDOOR" --json lock --config "$SITE/lock.toml" --no-server --reader "pn532:$LINE" --once
    wait_event waiting ready >/dev/null
    "$TAPDOOR" apdu --reader "pn532:$LINE" --wait 1 00 >"$WORK/second.log" 2>&1
    local status=$?
    stop waiting INT
    if [ "$status" != 3 ] || ! grep -q 'another program holds it' "$WORK/second.log"; then cat "$WORK/second.log" && return 1; fi
}
check 'pn532: a line that another program holds is told' alone one_at_a_time
comes_later() { # READER
    phone_at "pn532:$LINE,after=2"
    opens "$1"
}
check 'pn532: the phone comes later, raw' alone comes_later "pn532:$LINE"
check 'pn532: the phone comes later, firmware' alone comes_later "pn532:$LINE,firmware"
if [ -n "$LIBNFC" ]; then
    phone_at "pn532:$LINE"
    check 'libnfc: the lock opens' opens "libnfc:pn532_uart:$LINE"
    check 'libnfc: the phone comes later' alone comes_later "libnfc:pn532_uart:$LINE"
    too_long() {
        phone_at "pn532:$LINE"
        "$TAPDOOR" apdu --reader "libnfc:pn532_uart:$LINE" "00d6000000010c$(printf 'cd%.0s' {1..268})" >"$WORK/long.log" 2>&1
        local status=$?
        if [ "$status" != 2 ] || ! grep -q '262' "$WORK/long.log"; then cat "$WORK/long.log" && return 1; fi
    }
    check 'libnfc: an APDU that would overrun its buffer is not given to it' alone too_long
else
    skip 'libnfc:' 'this build has no libnfc (cargo feature libnfc)'
fi

# nfcpy takes names in /dev only.
TTY=/dev/ttytapdoor$$
if ln -s "$LINE" "$TTY" 2>/dev/null; then
    trap 'rm -f "$TTY"; stop_everything' EXIT
    phone_at "pn532:$LINE" --lab "answer=$(printf 'ab%.0s' {1..300})9000"
    check 'nfcpy on the line: activation, RATS, ISO-DEP, and 300 bytes each way' \
        nfcpy read "tty:${TTY#/dev/}:pn532" "00d6000000012c+cd*300=ab*300+9000"
else
    skip 'nfcpy on the line' "no symlink can be made in /dev"
fi

# NFC-DEP through simulated chips near each other: ours by our own protocol and by the chip's firmware, theirs by the firmware.
chips() { # OPTION...: a simulated chip at $LINE
    stop phone
    start chips "$TAPDOOR" --json simulate "$LINE" "$@"
    PHONE=$(wait_event chips ready)
}
# nfcpy takes the chip's answers of exactly 255 bytes for longer ones: at 106 kbit/s those to messages that end with 247 bytes after pieces
# of 251, so not 1000 here.
AT_CHIP=${LENGTHS/,1000,/,990,}
# nfcpy gives a chip 100 ms for each answer while it opens it, which on a busy machine is not always enough, and may then wait for ever.
nfcpy_is_target() {
    local attempt
    for attempt in 1 2 3; do
        start target "$NFCPY" "$HERE/nfcpy_peer.py" target "tty:${OTHER#/dev/}:pn532" 46666d010113
        wait_for 5 grep -q '"ready"' "$WORK/target.log" && return
        echo "nfcpy did not open its chip, attempt $attempt" && cat "$WORK/target.err"
        stop target KILL
    done
    return 1
}
we_initiate_by_chip() { # READER RATE
    chips --near "pn532:$WORK/other" || return
    nfcpy_is_target || return
    "$TAPDOOR" --json dep --initiator "$1" --rate "$2" --general 010203 --bytes "$AT_CHIP" >"$WORK/dep.log" || {
        cat "$WORK/dep.log" "$WORK/target.log" "$WORK/target.err" && return 1
    }
    wait_event target released >/dev/null || return
    has "$(last target attached)" general=010203 && [ "$(events dep exchange)" = 11 ] && has "$(last dep attached)" general=46666d010113
}
OTHER=/dev/ttytapdoorb$$
if [ -L "$TTY" ] && ln -s "$WORK/other" "$OTHER" 2>/dev/null; then
    trap 'rm -f "$TTY" "$OTHER"; stop_everything' EXIT
    for rate in 106 212 424; do
        check "NFC-DEP: our initiator with a PN532 as radio at nfcpy's target on another, $rate kbit/s" alone we_initiate_by_chip "pn532:$LINE" "$rate"
        check "NFC-DEP: the firmware as our initiator there, $rate kbit/s" alone we_initiate_by_chip "pn532:$LINE,firmware" "$rate"
    done
else
    skip "NFC-DEP at nfcpy's target on a chip" "no symlink can be made in /dev"
fi
they_initiate_at_chip() { # RATE
    chips --near udp:127.0.0.1:0 || return
    start echo "$TAPDOOR" --json dep --target "pn532:$LINE" --general 46666d010113
    wait_event echo ready >/dev/null || return
    nfcpy initiator "udp:$(listens)" "$1" 010203 "$LENGTHS" || return
    stop echo INT
    has "$(last echo summary)" exchanges=11
}
for rate in 106 212 424; do
    check "NFC-DEP: nfcpy's initiator at a PN532 as our target, $rate kbit/s" alone they_initiate_at_chip "$rate"
done

# --- an ACR122U in raw mode ------------------------------------------------------------------------------------------

phone_at "vpcd:127.0.0.1:$VPCD_PORT,as=acr122u"
reader_is present
check 'acr122u-raw at vpcd: the lock opens' opens "acr122u-raw:$READER" --record "$WORK/acr.tape"
check 'acr122u-raw at vpcd: the tape has the frames' frames "$WORK/acr.tape"
check 'pcsc at the same reader: the lock opens' opens "pcsc:$READER"
stop phone
reader_is empty
later_at_vpcd() { opens_when_it_comes "acr122u-raw:$READER" "vpcd:127.0.0.1:$VPCD_PORT,as=acr122u"; }
check 'acr122u-raw at vpcd: the phone comes later' alone later_at_vpcd
stop phone

# The same behind our own PC/SC driver, which carries escape commands: there the lock looks for phones itself, in an empty field.
OURS=$("$PEER_PYTHON" -c 'from smartcard.System import readers
print(next(str(reader) for reader in readers() if "ACR122U Tapdoor" in str(reader)))')
phone_at "ifd:$IFD_SOCKET"
wait_event phone connected >/dev/null
check 'acr122u-raw at our driver: the lock opens, the phone there first' opens acr122u-raw:Tapdoor --record "$WORK/ifd.tape"
check 'acr122u-raw at our driver: the tape has the frames' frames "$WORK/ifd.tape"
phone_at "ifd:$IFD_SOCKET,after=2"
reader_is vacant "$OURS"
check 'acr122u-raw at our driver: the lock opens, the phone arriving later' opens acr122u-raw:Tapdoor
polling_is_back() {
    phone_at "ifd:$IFD_SOCKET,after=2"
    reader_is present "$OURS"
}
check "acr122u-raw at our driver: the reader's own polling is as it was" alone polling_is_back
nobody_there() { # a phone is no type F card and no target
    phone_at "ifd:$IFD_SOCKET"
    wait_event phone connected >/dev/null || return
    local status
    "$TAPDOOR" dep --poll acr122u-raw:Tapdoor >"$WORK/nobody.log" 2>&1
    status=$?
    cat "$WORK/nobody.log"
    [ "$status" = 3 ] && grep -q 'nobody at acr122u-raw:Tapdoor answers as a type F card' "$WORK/nobody.log" || return
    "$TAPDOOR" dep --initiator acr122u-raw:Tapdoor --rate 106 >"$WORK/nobody.log" 2>&1
    status=$?
    cat "$WORK/nobody.log"
    [ "$status" = 3 ] && grep -q 'a target of NFC-DEP at 106 kbit/s' "$WORK/nobody.log"
}
check 'acr122u-raw at our driver: nobody there knows NFC-DEP, and that is told' alone nobody_there
stop phone

# --- rates -----------------------------------------------------------------------------------------------------------

COUNT=1000
ours() { timeout 120 "$TAPDOOR" --json bench link --reader "$1" --count "$COUNT" 2>>"$WORK/bench.err" | tail -n 1; }
per_second() { sed 's/.*"per_second": *\([0-9.]*\).*/\1/'; }
phone_at "pn532:$LINE"
RAW=$(ours "pn532:$LINE" | per_second)
FIRMWARE=$(ours "pn532:$LINE,firmware" | per_second)
[ -z "$LIBNFC" ] || THEIRS=$(ours "libnfc:pn532_uart:$LINE" | per_second)
NFCPY_LINE=
[ ! -L "$TTY" ] || NFCPY_LINE=$(nfcpy rate "tty:${TTY#/dev/}:pn532" "$SELECT" "$COUNT" | per_second)
phone_at udp:127.0.0.1:0
OVER_UDP=$(ours "udp:$(listens)" | per_second)
NFCPY_UDP=$(nfcpy rate "udp:$(listens)" "$SELECT" "$COUNT" | per_second)
measured() {
    local rate
    for rate in "$RAW" "$FIRMWARE" "$OVER_UDP" "$NFCPY_UDP"; do
        [ -n "$rate" ] || { echo "a rate is missing: raw $RAW, firmware $FIRMWARE, udp $OVER_UDP, nfcpy $NFCPY_UDP" && cat "$WORK/bench.err" && return 1; }
    done
}
check 'APDUs per second: ours and theirs' measured
"$PEER_PYTHON" - "$RAW" "$FIRMWARE" "${THEIRS:-}" "$NFCPY_LINE" "$OVER_UDP" "$NFCPY_UDP" <<'PYTHON'
import sys

raw, firmware, libnfc, nfcpy, udp, nfcpy_udp = (float(a) if a else None for a in sys.argv[1:])


def line(name, ours, theirs, whose):
    if ours and theirs:
        print(f"# {name}: {ours:.0f} APDUs per second, {whose} {theirs:.0f}: {ours / theirs:.2f}")


line("pn532, firmware", firmware, libnfc, "libnfc")
line("pn532, raw", raw, libnfc, "libnfc")
line("pn532, raw", raw, nfcpy, "nfcpy")
line("udp", udp, nfcpy_udp, "nfcpy")
PYTHON
