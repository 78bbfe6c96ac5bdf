//! A quick hash for addresses. Those that are kept are the inventory's: who sends packets can't choose
//! them, so there is nothing to protect against.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    net::IpAddr,
};

/// Something for each address.
pub(super) type ByAddress<T> = HashMap<IpAddr, T, BuildHasherDefault<Folded>>;

/// Each word is multiplied, and the product folded.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Folded(u64);

impl Folded {
    #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
    fn add(&mut self, word: u64) {
        // The golden ratio's digits: odd, and without a pattern.
        let product = u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd1b5_4a32_d192_ed03;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.add(u64::from_le_bytes(word));
        }
    }

    // What tells one family from the other, and how long an address is: the bytes show both.
    fn write_usize(&mut self, _: usize) {}

    fn write_isize(&mut self, _: isize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, hash::BuildHasher as _, net::Ipv4Addr};

    use super::*;

    #[test]
    fn addresses_side_by_side_are_spread() {
        let map = ByAddress::<u8>::default();
        // A map's bucket is in the low bits, its tag in the high ones.
        let mut buckets = BTreeSet::new();
        let mut tags = BTreeSet::new();
        for number in 0..4_096_u32 {
            let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a01_0000 + number));
            let hash = map.hasher().hash_one(address);
            buckets.insert(hash & 0xfff);
            tags.insert(hash >> 57);
        }
        // By chance it would be 4096 * (1 - 1/e), 2589.
        assert!(buckets.len() > 2_300, "{}", buckets.len());
        assert_eq!(tags.len(), 128);
    }
}
