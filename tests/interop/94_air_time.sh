#!/usr/bin/env bash
# The simulated time of whole taps, reckoned anew from the frames on their tapes by a script that knows docs/radio.md only.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
need python3

FRAMES=$WORK/frames
"$TAPDOOR" --json bench radio --tapes "$FRAMES" >"$WORK/radio.log" 2>"$WORK/radio.err" </dev/null
STATUS=$?
cat "$WORK/radio.err" >&2
measured() { [ "$STATUS" = 0 ] && [ "$(grep -c '"name":"radio","method"' "$WORK/radio.log")" = 16 ]; }
check 'bench radio: four methods at two rates, without CONTROL FLOW and with it' measured
reckon() {
    local ms
    ms=$(sed -n "s/.*\"method\":\"$1\",\"rate\":$2,\"control_flow\":$3,\"ms\":\([0-9.]*\).*/\1/p" "$WORK/radio.log")
    [ -n "$ms" ] && python3 "$ROOT/tests/peers/air_time.py" "$FRAMES/$1-$2$4.tape" "$ms"
}
for method in challenge-response aka aliro aliro-fast; do
    for rate in 106 424; do
        check "the time of $method at $rate kbit/s is what its frames take" reckon "$method" "$rate" false ''
        check "and with CONTROL FLOW" reckon "$method" "$rate" true -told
    done
done
within() { grep '"event":"limit","name":"radio"' "$WORK/radio.log" | python3 -c 'import json,sys; l=json.loads(sys.stdin.read()); sys.exit(not l["value_ms"] <= l["limit_ms"])'; }
check 'challenge-response at 106 kbit/s, CONTROL FLOW included, takes 25 ms or less' within

"$TAPDOOR" --json bench faults >"$WORK/faults.log" 2>"$WORK/faults.err" </dev/null
STATUS=$?
cat "$WORK/faults.err" >&2
table() { [ "$STATUS" = 0 ] && tail -n 1 "$WORK/faults.log" | grep -q '"ok":true'; }
check 'the fault table: no cell against a rule' table
