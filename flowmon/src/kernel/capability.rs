//! What this process may do.

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
const SYS_ADMIN: u32 = 21;

/// The needed capabilities that are not in effect. Empty also when that can't be told.
pub(super) fn missing() -> Vec<&'static str> {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| effective(&status))
        .map_or_else(Vec::new, missing_of)
}

fn effective(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
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
    use super::{effective, missing_of};

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
    fn reads_the_line_of_proc_status() {
        assert_eq!(
            effective("Name:\tx\nCapEff:\t000001fffeffffff\n"),
            Some(0x01ff_feff_ffff)
        );
        assert_eq!(effective("Name:\tx\n"), None);
    }
}
