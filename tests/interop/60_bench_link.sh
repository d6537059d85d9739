#!/usr/bin/env bash
# tapdoor bench link beside a bare SCardTransmit loop, at a phone of ours through pcscd. Times are shown, not judged: this machine
# may be busy. The figure to reach is 0.95.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
need_peers # to wait for the reader's state
in_private_pcscd "$@"
make_site
our_phone
cd -- "$WORK" || exit 1

timeout --kill-after=5 200 "$TAPDOOR" --json bench link --reader "pcsc:$READER" --count 3000 >"$WORK/bench.log" 2>"$WORK/bench.err" </dev/null
STATUS=$?
cat "$WORK/bench.err" >&2
measured() { [ "$STATUS" = 0 ] && has "$(last bench bench)" name=link apdus=3000 'per_second>0' 'bare_per_second>0' 'ratio>0'; }
check 'bench link: our link and a bare loop, interleaved' measured
printf '%s\n' "$(last bench bench)" | "$PEER_PYTHON" -c '
import json, sys
b = json.load(sys.stdin)
print("# bench link: %.0f APDUs per second with recorder, %.0f bare: %.3f" % (b["per_second"], b["bare_per_second"], b["ratio"]))'
clean() { [ "$(cd "$WORK" && echo .tapdoor-bench-* bench-*.tape)" = '.tapdoor-bench-* bench-*.tape' ]; }
check 'bench link: leaves nothing behind' clean
check 'bench link: the phone is as it was after it' phone_is_well
