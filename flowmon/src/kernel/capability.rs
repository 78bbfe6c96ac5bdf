//! What this process may do.

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

/// A capability, its `CAP_` number, and what it is needed for.
pub(super) type Capability = (&'static str, u32, &'static str);

/// What flowmon needs, by `CAP_` number (`include/uapi/linux/capability.h`). `CAP_SYS_ADMIN` stands
/// for all of them (`bpf_capable`, `perfmon_capable` and, for tcx links, `bpf_net_capable` in
/// `include/linux/bpf.h`).
pub(super) const NEEDED: [Capability; 3] = [
    ("CAP_BPF", 39, "loads programs, makes maps"),
    ("CAP_NET_ADMIN", 12, "attaches to interfaces"),
    (
        "CAP_PERFMON",
        38,
        "reads packets by address, as programs do",
    ),
];
/// What it can do without, and then knows fewer names.
pub(super) const HELPFUL: [Capability; 2] = [
    (
        "CAP_SYS_PTRACE",
        19,
        "finds the network namespaces of others' processes, for the names of containers",
    ),
    (
        "CAP_NET_BROADCAST",
        11,
        "is told at once when something changes in a container's network namespace",
    ),
];
const SYS_ADMIN: u32 = 21;

/// Gives up, for this thread and those it starts, whatever a daemon does not need while it runs, and
/// whatever it could get by starting programs.
pub(super) fn give_up_others() -> rustix::io::Result<()> {
    set_no_new_privs(true)?;
    let permitted = capabilities(None)?.permitted;
    let kept = CapabilitySet::from_bits_retain(kept_of(permitted.bits()));
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )
}

fn kept_of(permitted: u64) -> u64 {
    let bits = NEEDED.iter().chain(&HELPFUL).map(|(_, number, _)| number);
    let kept = bits.fold(0, |kept, number| kept | 1 << number) & permitted;
    if NEEDED.iter().all(|(_, number, _)| kept >> number & 1 == 1) {
        kept
    } else {
        kept | permitted & 1 << SYS_ADMIN
    }
}

/// The needed capabilities that are not in effect. Empty also when that can't be told.
pub(super) fn missing() -> Vec<&'static str> {
    effective().map_or_else(Vec::new, missing_of)
}

/// Of the helpful ones, those: nothing stands for them.
pub(super) fn unhelpful() -> Vec<&'static str> {
    let lacks = |effective: u64| {
        let lacking = HELPFUL
            .into_iter()
            .filter(|&(_, number, _)| effective >> number & 1 == 0);
        lacking.map(|(name, ..)| name).collect()
    };
    effective().map_or_else(Vec::new, lacks)
}

fn effective() -> Option<u64> {
    Some(capabilities(None).ok()?.effective.bits())
}

fn missing_of(effective: u64) -> Vec<&'static str> {
    let has = |number: u32| effective >> number & 1 == 1;
    NEEDED
        .into_iter()
        .filter(|&(_, number, _)| !has(number) && !has(SYS_ADMIN))
        .map(|(name, ..)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{kept_of, missing_of};

    #[test]
    fn root_lacks_nothing_and_nobody_lacks_all() {
        assert!(missing_of(u64::MAX).is_empty());
        assert_eq!(missing_of(0), ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]);
    }

    #[test]
    fn sys_admin_stands_for_all() {
        assert!(missing_of(1 << 21).is_empty());
        assert_eq!(missing_of(1 << 39), ["CAP_NET_ADMIN", "CAP_PERFMON"]);
    }

    #[test]
    fn a_daemon_keeps_what_it_needs_of_what_it_has() {
        let names = 1 << 19 | 1 << 11;
        let needed = 1 << 39 | 1 << 38 | 1 << 12;
        assert_eq!(kept_of(u64::MAX), needed | names);
        assert_eq!(kept_of(needed | 1), needed);
        assert_eq!(kept_of(0), 0);
        // Where one is missing, it lives on the one that stands for it.
        assert_eq!(kept_of(1 << 21 | 1 << 12 | 1), 1 << 21 | 1 << 12);
    }
}
