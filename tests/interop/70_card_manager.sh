#!/usr/bin/env bash
# The card manager of our phone, through pcscd: SCP03 at every level, loading, installing, personalising, a tap with what was loaded, deleting,
# keys. Hosts: tests/peers/gp_host.py, written from the standard, and yubikit (PyPI's yubikey-manager), which is not ours. No other
# host was found that can be installed and knows SCP03: Py-GP and pyGlobalPlatform on PyPI are Windows programs, Debian has none.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
need_peers
in_private_pcscd "$@"
make_site

APPLET=$ROOT/applets/challenge-response.wasm
# The provider that our phone trusts.
SIGNER=$(printf '11%.0s' {1..32})
PROVIDER=$(cd "$PEERS" && "$PEER_PYTHON" -c "import gp_host; print(gp_host.public('$SIGNER').hex())")

# each_check PREFIX PYTHON PEER OPTION...: one case for every line that the peer prints.
each_check() {
    local prefix=$1 python=$2 line name
    timeout --kill-after=5 60 "$python" "$PEERS/$3" "${@:4}" --reader "$READER" >"$WORK/peer.log" </dev/null
    local status=$?
    while read -r line; do
        name=$(sed -E 's/^\{"check": "([^"]*)".*/\1/' <<<"$line")
        if [[ $line == *'"ok": true'* ]]; then ok "$prefix: $name"; else not_ok "$prefix: $name" "$line"; fi
    done <"$WORK/peer.log"
    if [ "$status" -ne 0 ] && ! grep -q '"ok": false' "$WORK/peer.log"; then not_ok "$prefix" "ended with status $status"; fi
}
part() { each_check "$1" "$PEER_PYTHON" gp_check.py "$1" --config "$CONFIG" --applet "$APPLET" --signer "$SIGNER" --k-ph "$K_PH" "${@:2}"; }

# our_lock_taps: `tapdoor lock` at our phone, without a server. Afterwards TAP and STATUS.
our_lock_taps() {
    timeout --kill-after=5 60 "$TAPDOOR" --json lock --config "$SITE/lock-alone.toml" --reader "pcsc:$READER" --once \
        --method challenge-response >"$WORK/lock.log" 2>"$WORK/lock.err" </dev/null
    STATUS=$?
    cat "$WORK/lock.err" >&2
    TAP=$(last lock tap)
}
opens() { [ "$STATUS" = 0 ] && has "$TAP" verdict=open reason=null method=challenge-response "phone=$MASKED" apdus=2 downloaded=false; }
app_missing() { [ "$STATUS" = 1 ] && has "$TAP" verdict=refused reason=app-missing; }

check 'SCP03 in Python: recorded sessions of others' peer gp_scp03.py "$ROOT/protocol/tests/vectors/scp03.json"

# A phone that has its identity only, and trusts our provider. It and the lock know no server.
serverless=('/^url = /d' '/^ca = /d')
variant phone-bare phone.toml 's/^applications = .*/applications = ["identity"]/' "s/^providers = .*/providers = [\"$PROVIDER\"]/" "${serverless[@]}"
variant lock-alone lock.toml "${serverless[@]}"
CONFIG=$SITE/phone-bare.toml
our_phone
part levels
part refusals
part loads
our_lock_taps
check 'tap: nothing is installed' app_missing
part install
our_lock_taps
check 'tap: what was loaded, installed and personalised opens our lock' opens
part upgrade
our_lock_taps
check 'tap: it opens after the upgrade' opens
our_phone
part lasts
our_lock_taps
check 'tap: it opens after a restart of the phone' opens
part status
our_lock_taps
check 'tap: it opens after it was locked and unlocked' opens
part delete
our_lock_taps
check 'tap: nothing is installed any more' app_missing
part keys
check 'the phone is as it was after all this' phone_is_well

if foreign=$(python_with_yubikit); then
    each_check 'yubikit' "$foreign" gp_foreign.py --config "$CONFIG"
    check 'the phone is as it was after that too' phone_is_well
else
    skip 'yubikit at our card manager' 'no Python here has yubikit (yubikey-manager): scripts/install-deps interop'
fi

# Another chip, of the same keys, in S16 mode.
variant phone-s16 phone.toml 's/^store = .*/store = "s16.chip"/' 's/^kvn = /i = 0x71\nkvn = /' 's/^applications = .*/applications = ["identity"]/' \
    "s/^providers = .*/providers = [\"$PROVIDER\"]/" "${serverless[@]}"
bare=$CONFIG
CONFIG=$SITE/phone-s16.toml
our_phone
for part in levels refusals install; do each_check "S16 $part" "$PEER_PYTHON" gp_check.py "$part" --s16 --config "$CONFIG" --applet "$APPLET" --signer "$SIGNER" --k-ph "$K_PH"; done
our_lock_taps
check 'tap: what was loaded in S16 mode opens our lock' opens
CONFIG=$bare
our_phone

part terminate
reader_is present
our_phone
terminated() { ! peer select_check.py --reader "$READER" --expect 0F --no-partial >"$WORK/terminated.log" 2>&1; }
check 'a terminated chip stays so after a restart' terminated
