# Sourced by the other scripts: versions, and what more than one of them needs.
# shellcheck shell=bash disable=SC2034 # those who source it use the variables

# LLVM's major version must be the same in the rustc that compiles the kernel side and in
# bpf-linker, which reads rustc's bitcode. flowmon/build.rs has the same number.
LLVM=22
BPF_LINKER=0.13.0
NEXTEST=0.9.143
CARGO_FUZZ=0.13.2
# A rustup toolchain on that LLVM, for who has neither a usable `nightly` nor Debian's packages.
NIGHTLY=nightly-2026-05-20

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# What `cargo install` puts there counts, even if the shell's PATH does not have it (yet).
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

# On stderr: stdout belongs to the program that a script runs.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$@"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$EUID" -eq 0 ]; }
# ldd fails for a program at a fixed address, and says so of one that is not.
is_static() { [ -n "$1" ] && ! { ldd "$1" 2>/dev/null | grep -qv 'statically linked'; }; }

as_root() {
    if is_root; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "this needs root, and there is no sudo; as root, run: $*"
    fi
}

# usable_toolchain NAME: can NAME (a rustup toolchain, or `debian` for /usr/bin/rustc) compile the
# kernel side? The same question as in flowmon/build.rs.
usable_toolchain() {
    local rustc sysroot
    rustc=$(toolchain_rustc "$1") && right_llvm "$rustc" || return 1
    sysroot=$("$rustc" --print sysroot)
    [ -d "$sysroot/lib/rustlib/src/rust/library/core" ]
}

toolchain_rustc() {
    if [ "$1" = debian ]; then
        echo /usr/bin/rustc
    else
        rustup which --toolchain "$1" rustc 2>/dev/null
    fi
}

right_llvm() { [[ $("$1" -vV 2>/dev/null) == *"LLVM version: $LLVM."* ]]; }

# The toolchain for the kernel side; fails if there is none yet.
ebpf_toolchain() {
    local name
    for name in ${FLOWMON_EBPF_TOOLCHAIN:-nightly debian}; do
        if usable_toolchain "$name"; then
            echo "$name"
            return
        fi
    done
    return 1
}
