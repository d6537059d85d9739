# shellcheck shell=bash
# Helpers for the interop suites, sourced by each tests/interop/NN_name.sh:
#
#   #!/usr/bin/env bash
#   # shellcheck source-path=SCRIPTDIR source=lib.sh
#   . "$(dirname "$0")/lib.sh"
#   need scriptor pcsc-tools             # the program, and the package that has it
#   need_peers                           # Python's counterparts, in tests/peers
#   in_private_pcscd "$@"                # from here on a pcscd of our own is running, nobody else's
#   make_site                            # `tapdoor init`
#   our_phone                            # it is in the field
#   check 'the phone answers SELECT' some_function
#
# A suite reports on standard output, one line a case, and says nothing else there:
#   ok NAME | not ok NAME - why | skip NAME - why
# Where CI=true the runner counts a skip as a failure. Everything a suite starts ends with it. TAPDOOR_KEEP=1 keeps $WORK.

set -u

HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd -- "$HERE/../.." && pwd)
SUITE=$(basename -- "$0")
TAPDOOR=${TAPDOOR_BIN:-${CARGO_TARGET_DIR:-$ROOT/target}/release/tapdoor}
PATH=$PATH:/usr/sbin:/sbin
WORK=${TAPDOOR_SUITE_WORK:-$(mktemp -d "${TMPDIR:-/tmp}/tapdoor-interop.XXXXXX")}
export HERE ROOT SUITE TAPDOOR PATH WORK

declare -A CHILDREN=()

# --- reporting -----------------------------------------------------------------------------------------------------

ok() { printf 'ok %s\n' "$1"; }
not_ok() { printf 'not ok %s - %s\n' "$1" "${2:-failed}"; }
skip() { printf 'skip %s - %s\n' "$1" "${2:-not here}"; }

# check NAME COMMAND...: ok if the command succeeds; if not, its last line of output is the reason.
check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        ok "$name"
    else
        printf '%s\n' "$output" >&2
        not_ok "$name" "$(printf '%s\n' "$output" | sed '/^[[:space:]]*$/d' | tail -n 1)"
        return 1
    fi
}

# need PROGRAM [PACKAGE]: without the program the whole suite is skipped.
need() {
    command -v "$1" >/dev/null 2>&1 && return
    skip "$SUITE" "$1 is missing${2:+ (package $2)}"
    exit 0
}

# --- Python --------------------------------------------------------------------------------------------------------

# The interpreter that has pyscard and cryptography: a distribution's packages serve only its own Python.
# scripts/install-deps looks in the same order.
python_with_smartcard() {
    local python
    for python in ${PYTHON:+"$PYTHON"} python3 /usr/bin/python3; do
        if "$python" -c 'import cryptography, smartcard' >/dev/null 2>&1; then
            command -v "$python"
            return
        fi
    done
    return 1
}

# An interpreter that has yubikit besides: the one that scripts/install-deps made, or any other.
python_with_yubikit() {
    local python
    for python in ${YUBIKIT_PYTHON:+"$YUBIKIT_PYTHON"} "${PEER_PYTHON:-python3}" "$ROOT/target/yubikit/bin/python"; do
        if "$python" -c 'import cryptography, smartcard, yubikit.securitydomain' >/dev/null 2>&1; then
            command -v "$python"
            return
        fi
    done
    return 1
}

# The folder in which node finds nfc-pcsc: the one that scripts/install-deps made, or any other.
node_modules_with_nfc_pcsc() {
    local folder
    for folder in ${NODE_PATH:+"$NODE_PATH"} "$ROOT/target/nfc-pcsc/node_modules"; do
        if NODE_PATH=$folder node -e 'require("nfc-pcsc")' >/dev/null 2>&1; then
            echo "$folder"
            return
        fi
    done
    return 1
}

# An interpreter that has openapi-spec-validator.
python_with_openapi() {
    local python
    for python in ${OPENAPI_PYTHON:+"$OPENAPI_PYTHON"} python3 "$ROOT/target/openapi/bin/python"; do
        if "$python" -c 'import openapi_spec_validator' >/dev/null 2>&1; then
            command -v "$python"
            return
        fi
    done
    return 1
}

# --- a PC/SC stack of one's own --------------------------------------------------------------------------------------

# Options of tests/support/private-pcscd.sh, set before in_private_pcscd.
PCSCD_OPTIONS=()

# need_ifd: our own PC/SC driver, for a reader at $IFD_SOCKET; without it the whole suite is skipped.
need_ifd() {
    IFD=${TAPDOOR_IFD:-$(dirname -- "$TAPDOOR")/libtapdoor_ifd.so}
    IFD_SOCKET=$WORK/acr122u
    if [ ! -e "$IFD" ]; then
        skip "$SUITE" "$IFD is missing (cargo build --release -p tapdoor-ifd)"
        exit 0
    fi
    PCSCD_OPTIONS+=(-i "$IFD" -s "$IFD_SOCKET")
}

# Run the rest of this suite inside a private pcscd with vpcd: the script is started again in there, with VPCD_PORT set to
# the port of the first virtual reader (the second is at VPCD_PORT + 1).
in_private_pcscd() {
    if [ -n "${TAPDOOR_PRIVATE_PCSCD:-}" ]; then
        VPCD_PORT=${TAPDOOR_VPCD##*:}
        export VPCD_PORT
        return
    fi
    need pcscd pcscd
    need unshare util-linux
    export TAPDOOR_PRIVATE_PCSCD=1 TAPDOOR_SUITE_WORK=$WORK
    trap - EXIT
    "$ROOT/tests/support/private-pcscd.sh" "${PCSCD_OPTIONS[@]}" -- "$BASH" "$0" "$@"
    local status=$?
    [ -n "${TAPDOOR_KEEP:-}" ] || rm -rf -- "$WORK"
    if [ "$status" -eq 77 ]; then
        skip "$SUITE" 'no private pcscd here'
        status=0
    fi
    exit "$status"
}

# --- children ------------------------------------------------------------------------------------------------------

# start NAME COMMAND...: in the background; standard output to $WORK/NAME.log, standard error to $WORK/NAME.err.
start() {
    local name=$1
    shift
    "$@" >"$WORK/$name.log" 2>"$WORK/$name.err" </dev/null &
    CHILDREN[$name]=$!
}

# running NAME: is it still there?
running() { [ -n "${CHILDREN[$1]:-}" ] && kill -0 "${CHILDREN[$1]}" 2>/dev/null; }

# stop NAME [SIGNAL]: end it, by force after 5 s, and wait for it; its exit status is the result.
stop() {
    local pid=${CHILDREN[$1]:-}
    [ -n "$pid" ] || return 0
    kill -s "${2:-TERM}" "$pid" 2>/dev/null
    wait_for 5 not running "$1" || kill -s KILL "$pid" 2>/dev/null
    unset "CHILDREN[$1]"
    wait "$pid" 2>/dev/null
}

# join NAME [SECONDS]: wait for it to end by itself; its exit status is the result, 124 if it had to be killed.
join() {
    local pid=${CHILDREN[$1]:-}
    [ -n "$pid" ] || return 127
    if ! wait_for "${2:-30}" not running "$1"; then
        stop "$1" KILL
        return 124
    fi
    unset "CHILDREN[$1]"
    wait "$pid" 2>/dev/null
}

stop_everything() {
    local name
    [ "$BASHPID" = "$$" ] || return 0 # a child that is killed before it forgets this trap must not run it
    for name in "${!CHILDREN[@]}"; do stop "$name"; done
    [ -n "${TAPDOOR_KEEP:-}" ] || rm -rf -- "$WORK"
}
trap stop_everything EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- waiting -------------------------------------------------------------------------------------------------------

not() { ! "$@"; }

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
    local end=$((SECONDS + $1 + 1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.05
    done
}

# events NAME EVENT: how many lines of that event the child has printed.
events() {
    local count
    count=$(grep -Ec "\"event\"[[:space:]]*:[[:space:]]*\"$2\"" "$WORK/$1.log" 2>/dev/null)
    # The log of a child that is only just starting may not be there.
    echo "${count:-0}"
}

# wait_event NAME EVENT [COUNT] [SECONDS]: until the child has printed COUNT of them; prints the COUNT-th.
wait_event() {
    local name=$1 event=$2 count=${3:-1} seconds=${4:-15}
    # shellcheck disable=SC2317  # called by wait_for
    enough() { [ "$(events "$name" "$event")" -ge "$count" ] || not running "$name"; }
    wait_for "$seconds" enough
    if [ "$(events "$name" "$event")" -lt "$count" ]; then
        echo "$name: $(events "$name" "$event") of $count '$event' within ${seconds} s; $(tail -n 1 "$WORK/$name.err" 2>/dev/null)" >&2
        return 1
    fi
    grep -E "\"event\"[[:space:]]*:[[:space:]]*\"$event\"" "$WORK/$name.log" | sed -n "${count}p"
}

# last NAME EVENT: the newest such line that the child has printed.
last() { grep -E "\"event\"[[:space:]]*:[[:space:]]*\"$2\"" "$WORK/$1.log" 2>/dev/null | tail -n 1; }

# has LINE CONDITION...: does the JSON object in LINE have these fields? Conditions are those of has.py: verdict=open apdus=2
has() {
    local line=$1
    shift
    printf '%s\n' "$line" | "$PEER_PYTHON" "$HERE/has.py" "$@"
}

# --- a lock, a phone and their counterparts in Python -----------------------------------------------------------------

READER='ACS ACR122U PICC Interface 00 00'
PEERS=$ROOT/tests/peers

# need_peers: without pyscard and cryptography the whole suite is skipped.
need_peers() {
    # PYTHONDONTWRITEBYTECODE: a test leaves nothing in the source tree.
    export PYTHONDONTWRITEBYTECODE=1
    PEER_PYTHON=$(python_with_smartcard) && return
    skip "$SUITE" 'no Python here has both pyscard and cryptography (packages python3-pyscard, python3-cryptography)'
    exit 0
}

# peer SCRIPT ARGUMENT...: one of tests/peers
peer() {
    local script=$1
    shift
    "$PEER_PYTHON" "$PEERS/$script" "$@"
}

# make_site OPTION...: a folder of `tapdoor init` in $SITE, and what the peers need of it (tests/peers/site.py).
make_site() {
    SITE=$WORK/site
    if ! "$TAPDOOR" --quiet init "$SITE" "$@" >"$WORK/init.log" 2>&1; then
        not_ok 'tapdoor init' "$(tail -n 1 "$WORK/init.log")"
        exit 1
    fi
    # Most suites have no server; one that has gives its address on the command line.
    sed -i 's/^url = /# url = /' "$SITE/lock.toml"
    local line
    while read -r line; do declare -g "$line"; done < <(peer site.py "$SITE")
}

# variant NAME FILE SED-EXPRESSION...: $SITE/NAME.toml is FILE changed so, with a chip of its own.
variant() {
    local name=$1 file=$2 expressions=(-e "s/^store = .*/store = \"$1.chip\"/") expression
    shift 2
    for expression in "$@"; do expressions+=(-e "$expression"); done
    sed "${expressions[@]}" "$SITE/$file" >"$SITE/$name.toml"
}

# reader_is present|empty|vacant|unplugged [READER]: wait for it.
reader_is() { "$PEER_PYTHON" "$HERE/reader_state.py" "$1" "${2:-$READER}" 20 >&2; }

# at_our_lock PEER OPTION... -- LOCK-OPTION...: the peer is the card at `tapdoor lock`. Afterwards TAP is the lock's last tap event,
# STATUS the lock's exit status, and the peer's events are those of "card". CONFIG is the lock's configuration.
at_our_lock() {
    local card=()
    while [ "$1" != -- ]; do card+=("$1") && shift; done
    shift
    reader_is empty
    start card "$PEER_PYTHON" "$PEERS/${card[0]}" --vpcd "127.0.0.1:$VPCD_PORT" "${card[@]:1}"
    # The lock answers as soon as a card is there: nothing has to be waited for.
    timeout --kill-after=5 60 "$TAPDOOR" --json lock --config "${CONFIG:-$SITE/lock.toml}" --reader "pcsc:$READER" "$@" \
        >"$WORK/lock.log" 2>"$WORK/lock.err" </dev/null
    # shellcheck disable=SC2034  # for the suites
    STATUS=$?
    cat "$WORK/lock.err" >&2
    stop card
    # shellcheck disable=SC2034
    TAP=$(last lock tap)
}

# our_phone OPTION...: `tapdoor phone` is in the field from here on. CONFIG is its configuration.
our_phone() {
    stop phone
    reader_is empty
    start phone "$TAPDOOR" --json phone --config "${CONFIG:-$SITE/phone.toml}" --serve "vpcd:127.0.0.1:$VPCD_PORT" "$@"
    reader_is present
}

# at_our_phone PEER OPTION...: the peer is the lock. Afterwards TAP is its event and STATUS its exit status.
at_our_phone() {
    timeout --kill-after=5 60 "$PEER_PYTHON" "$PEERS/$1" --reader "$READER" "${@:2}" >"$WORK/peer.log" </dev/null
    # shellcheck disable=SC2034
    STATUS=$?
    # shellcheck disable=SC2034
    TAP=$(last peer tap)
}

# card_got N: the peer that is the card, with --trace, was sent N APDUs and then nothing more; FF are the reader's own.
card_got() {
    local got
    got=$(grep '"event": "apdu"' "$WORK/card.log" | grep -vc '"c": "ff')
    [ "$got" = "$1" ] && return
    cat "$WORK/card.log"
    echo "the card was sent $got APDUs, not $1"
    return 1
}

# phone_is_well: our phone still runs and has not complained.
phone_is_well() {
    running phone && [ ! -s "$WORK/phone.err" ] && return
    cat "$WORK/phone.err"
    echo 'our phone ended, or said something'
    return 1
}
