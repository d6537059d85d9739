#!/usr/bin/env bash
# Is every program that the other suites drive on this machine, and which version of it?
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

# What a program says of itself, else what the package manager says of its package.
version() { # PACKAGE COMMAND...
    local package=$1 line=''
    shift
    [ $# -eq 0 ] || line=$("$@" 2>&1 </dev/null | grep -Eo '[0-9]+(\.[0-9]+)+' | head -n 1)
    [ -n "$line" ] || line=$(dpkg-query -W -f '${Version}' "$package" 2>/dev/null)
    printf '%s' "${line:-unknown version}"
}

program() { # NAME PACKAGE [COMMAND that prints the version...]
    local name=$1 package=$2
    shift 2
    if command -v "$name" >/dev/null 2>&1; then
        ok "$name $(version "$package" "$@")"
    else
        skip "$name" "not on this machine (package $package)"
    fi
}

program pcscd pcscd pcscd --version
program unshare util-linux unshare --version
program strace strace strace --version
program scriptor pcsc-tools
program pcsc_scan pcsc-tools
program opensc-tool opensc opensc-tool --info
program nfc-list libnfc-bin
program nfc-anticol libnfc-examples
program node nodejs node --version
program tshark tshark tshark --version

drivers=(/usr/lib/pcsc/drivers/serial/libifdvpcd.so* /usr/lib*/*/pcsc/drivers/serial/libifdvpcd.so* /usr/local/lib/pcsc/drivers/serial/libifdvpcd.so*)
driver=''
for file in "${drivers[@]}"; do [ -e "$file" ] && driver=$file && break; done
if [ -n "$driver" ]; then
    ok "vpcd $(version vsmartcard-vpcd)"
else
    skip vpcd "its driver libifdvpcd.so is not on this machine (package vsmartcard-vpcd)"
fi

if python=$(python_with_smartcard); then
    ok "pyscard $(version python3-pyscard "$python" -c 'import importlib.metadata as m; print(m.version("pyscard"))')"
    ok "cryptography $(version python3-cryptography "$python" -c 'import cryptography as c; print(c.__version__)')"
else
    skip pyscard 'no Python here has both pyscard and cryptography (packages python3-pyscard, python3-cryptography)'
fi

check 'tapdoor --version' "$TAPDOOR" --version
