//! Which build of the binary interface this is: kernel side and userspace must be of one.

/// What defines the interface, by its text: whatever is changed in it, a comment or what a field
/// means, makes another interface. That is stricter than need be, and needs no one to think of it.
const INTERFACE: [&[u8]; 14] = [
    include_bytes!("address.rs"),
    include_bytes!("counter.rs"),
    include_bytes!("event.rs"),
    include_bytes!("fragment.rs"),
    include_bytes!("hygiene.rs"),
    include_bytes!("kept.rs"),
    include_bytes!("key.rs"),
    include_bytes!("latency.rs"),
    include_bytes!("probe.rs"),
    include_bytes!("settings.rs"),
    include_bytes!("sketch.rs"),
    include_bytes!("stats.rs"),
    include_bytes!("witness.rs"),
    include_bytes!("../../flowmon-ebpf/src/maps.rs"),
];

/// The bytes that the kernel side carries and userspace looks for in it.
pub type Mark = [u8; 24];

/// Of this build.
pub const MARK: Mark = mark(hash(&INTERFACE));

/// Is an eBPF object of this build?
pub fn is_in(object: &[u8]) -> bool {
    object
        .windows(size_of::<Mark>())
        .any(|bytes| *bytes == MARK)
}

#[expect(
    clippy::indexing_slicing,
    reason = "worked out by the compiler, which would refuse an index too large"
)]
const fn mark(number: u64) -> Mark {
    let mut mark = *b"flowmon interface ......";
    let number = number.to_be_bytes();
    let mut index = 0;
    while index < 6 {
        mark[18 + index] = number[index];
        index += 1;
    }
    mark
}

/// FNV-1a.
#[expect(clippy::indexing_slicing, reason = "as above")]
const fn hash(texts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut text = 0;
    while text < texts.len() {
        let mut at = 0;
        while at < texts[text].len() {
            hash = (hash ^ texts[text][at] as u64).wrapping_mul(0x0100_0000_01b3);
            at += 1;
        }
        text += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::{MARK, hash, is_in, mark};

    #[test]
    fn a_change_anywhere_is_another_interface() {
        // The test vectors of the FNV specification (draft-eastlake-fnv).
        assert_eq!(hash(&[b""]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(&[b"a"]), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash(&[b"foo", b"bar"]), 0x8594_4171_f739_67e8);
        assert_ne!(mark(1 << 16), mark(2 << 16));
    }

    #[test]
    fn an_object_is_known_by_its_mark() {
        let mut object = [7; 200];
        assert!(!is_in(&object));
        assert!(!is_in(&[]));
        for (to, from) in object.iter_mut().skip(91).zip(MARK) {
            *to = from;
        }
        assert!(is_in(&object));
    }
}
