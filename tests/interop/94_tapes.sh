#!/usr/bin/env bash
# tshark reads our pcapng: link type 264 with right CRCs and nothing malformed, GSMTAP with the same commands, and the decoder's speed
# beside tshark's in the same run (shown, and judged only where CI is not busy with other things: the figure to reach is 20).
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
need tshark tshark
cd -- "$WORK" || exit 1
shark() { tshark -n -d iso14443.subdissector,iso7816 -r "$@" 2>"$WORK/tshark.err"; }

# A tap with an activation, chained blocks, waiting time and the end of the session, in nfc-laboratory's form.
sample="$ROOT/captures/tests/samples/laboratory.json"
check 'convert: frames to pcapng' "$TAPDOOR" convert "$sample" frames.pcapng
count() { shark "$1" -T fields -e frame.number | wc -l; }
check 'tshark: every frame is there' test "$(count frames.pcapng)" = "$("$TAPDOOR" show --json "$sample" | grep -c '"event":"line"')"
bad() { shark "$1" -Y "$2" | wc -l; }
check 'tshark: no wrong CRC' test "$(bad frames.pcapng 'iso14443.crc.status == "Bad" || iso14443.crc.status == 0')" = 0
check 'tshark: nothing malformed' test "$(bad frames.pcapng '_ws.malformed')" = 0
summary() { shark frames.pcapng >summary.txt && for word in WUPA ATQA Anticollision UID Select SAK RATS ATS I-block R-block S-block; do
    grep -q "$word" summary.txt || { echo "no $word"; return 1; }
done; }
check 'tshark: names every kind of frame' summary
selects() { shark "$1" -V | grep -ci 'select file'; }
check 'tshark: finds the SELECT inside' test "$(selects frames.pcapng)" -ge 1

# APDUs without frames: blocks that are made up, as NFCGate makes them.
check 'convert: APDUs to pcapng' "$TAPDOOR" convert "$ROOT/captures/tests/samples/tap.dump" apdus.pcapng
check 'tshark: nothing malformed in blocks that are made up' test "$(bad apdus.pcapng '_ws.malformed')" = 0
check 'tshark: SELECT in blocks that are made up' test "$(selects apdus.pcapng)" -ge 1
check 'convert: GSMTAP' "$TAPDOOR" convert "$ROOT/captures/tests/samples/tap.dump" sim.pcapng --to gsmtap
check 'tshark: GSMTAP of a SIM card' test "$(tshark -n -r sim.pcapng -Y gsm_sim 2>/dev/null | wc -l)" = 3
check 'tshark: nothing malformed in GSMTAP' test "$(tshark -n -r sim.pcapng -Y _ws.malformed 2>/dev/null | wc -l)" = 0

# What tshark is known to take for malformed: S(DESELECT) as ISO/IEC 14443-4 has it (C2 and CRC, no CID: tshark's own glitch), and an R(NAK)
# without its CRC, which is. The R(NAK) with CID and CRC between them is not. We read, write and show all three unharmed.
cat >glitch.tape <<'TAPE'
{"tape":1}
{"t":0,"layer":"rf","dir":"out","data":"c2e0b4","crc":"ok"}
{"t":900000,"layer":"rf","dir":"out","data":"ba00bed9","crc":"ok"}
{"t":1800000,"layer":"rf","dir":"out","data":"ba00","crc":"none"}
TAPE
check 'convert: the known glitch' "$TAPDOOR" convert glitch.tape glitch.pcapng
check 'convert: the known glitch and back' "$TAPDOOR" convert glitch.pcapng again.tape
check 'convert: the known glitch is unharmed' cmp glitch.tape again.tape
malformed() { shark glitch.pcapng -Y _ws.malformed -T fields -e frame.number | tr '\n' ' '; }
check 'tshark: takes the known two for malformed, and nothing else' test "$(malformed)" = '1 3 '

# A tap of our own, recorded.
mkdir own && cd own || exit 1
check 'a tap is recorded' "$TAPDOOR" demo --record tap.tape
check 'convert: a tap of our own' "$TAPDOOR" convert tap.tape tap.pcapng
check 'tshark: nothing malformed in a tap of our own' test "$(bad "$PWD/tap.pcapng" '_ws.malformed')" = 0
check 'redact: a tap of our own' "$TAPDOOR" redact tap.tape clean.tape
check 'diff: what was redacted is the same session' "$TAPDOOR" diff tap.tape clean.tape
cd "$WORK" || exit 1

timeout --kill-after=5 250 "$TAPDOOR" --json bench decode >bench.log 2>bench.err </dev/null
STATUS=$?
cat bench.err >&2
figure() { grep -o "\"$1\":[0-9.]*" bench.log | head -n 1 | cut -d: -f2; }
echo "# bench decode: $(figure frames) frames in $(figure seconds) s, tshark $(figure tshark_seconds) s: $(figure ratio) times as long (20 wanted)"
check 'bench decode: a million frames by us and by tshark' test "$STATUS" = 0 -a -n "$(figure ratio)"
