//! How many different targets an endpoint asked, in little and bounded memory: a multi-resolution
//! bitmap (Estan, Varghese, Fisk: Bitmap algorithms for counting active flows, IMC 2003).

use crate::{abi::abi, address::Address};

/// Bits of a level.
const BITS: u32 = u64::BITS;
/// Levels: the first takes half of all targets, each further one half of the rest.
const LEVELS: usize = 16;
/// A level with more bits than this set tells little of how many set them.
const CROWDED: u32 = 48;

/// A bit for each target, most of them of its own while there are few: level `i` has the targets
/// of one hash in 2^(i+1).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Targets {
    /// The bits.
    pub levels: [u64; LEVELS],
}
abi!(Targets, size = 128, align = 8);

/// What tells the kernel side where to note targets.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scans {
    /// Secret, so that nobody can choose targets that share a bit.
    pub seed: u64,
    /// Which of the two [`Targets`] of an interface is written to; the other one is read.
    pub generation: u32,
    /// Named padding.
    pub reserved: u32,
}
abi!(Scans, size = 16, align = 8);

/// Level of a target's bit, and the bit.
#[inline(always)]
pub const fn place(seed: u64, address: Address, port: u16) -> (usize, u64) {
    let hash = hash(seed, address, port);
    let level = (hash >> 6 | 1 << (LEVELS - 1)).trailing_zeros();
    (level as usize & (LEVELS - 1), 1 << (hash & 63))
}

/// Three rounds of the mixing step of `MurmurHash3`, one for each word.
#[inline(always)]
const fn hash(seed: u64, address: Address, port: u16) -> u64 {
    let [a, b, c, d] = address.words();
    let mut hash = seed;
    hash = mix(hash ^ (a as u64 | (b as u64) << 32));
    hash = mix(hash ^ (c as u64 | (d as u64) << 32));
    mix(hash ^ port as u64)
}

#[inline(always)]
const fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let word = (word ^ word >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

impl Targets {
    /// Notes a target.
    pub fn insert(&mut self, seed: u64, address: Address, port: u16) {
        let (level, bit) = place(seed, address, port);
        if let Some(word) = self.levels.get_mut(level) {
            *word |= bit;
        }
    }

    /// How many different targets were noted: within a tenth of it in two cases of three; beyond
    /// eight million it stays there.
    pub fn estimate(&self) -> u64 {
        let base = self
            .levels
            .iter()
            .position(|level| level.count_ones() <= CROWDED)
            .unwrap_or(LEVELS - 1);
        let from_base = self.levels.iter().skip(base);
        let thousandths: u64 = from_base.map(|level| linear(level.count_ones())).sum();
        ((thousandths << base) + 500) / 1000
    }
}

/// Thousandths of targets that set so many bits of a level, most likely: each leaves a bit unset
/// with probability 63/64, so that is `ln(unset / 64) / ln(63 / 64)`. A full level counts as one
/// with a bit unset.
fn linear(set: u32) -> u64 {
    const THOUSANDTHS: [u32; BITS as usize] = [
        0, 1000, 2016, 3049, 4098, 5165, 6251, 7355, 8479, 9623, 10_788, 11_975, 13_185, 14_418,
        15_675, 16_958, 18_267, 19_604, 20_970, 22_366, 23_793, 25_252, 26_747, 28_277, 29_845,
        31_452, 33_102, 34_795, 36_535, 38_324, 40_164, 42_060, 44_014, 46_030, 48_112, 50_265,
        52_493, 54_802, 57_199, 59_689, 62_281, 64_984, 67_806, 70_760, 73_859, 77_116, 80_549,
        84_178, 88_028, 92_126, 96_507, 101_213, 106_295, 111_820, 117_872, 124_563, 132_042,
        140_521, 150_309, 161_886, 176_056, 194_323, 220_070, 264_084,
    ];
    let set = set.min(BITS - 1) as usize;
    THOUSANDTHS.get(set).copied().unwrap_or(0).into()
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::{Targets, linear, place};
    use crate::address::Address;

    fn targets(count: u32) -> Targets {
        let mut targets = Targets::default();
        for n in 0..count {
            let [_, a, b, c] = n.to_be_bytes();
            // As a scanner goes: port by port, address by address.
            targets.insert(7, Address::v4([10, a, b, 1]), u16::from(c));
        }
        targets
    }

    #[test]
    fn the_table_is_the_formula() {
        for set in 0..64u32 {
            let unset = f64::from(64 - set) / 64.0;
            let exact = 1000.0 * unset.ln() / (63.0f64 / 64.0).ln();
            assert!((exact - linear(set) as f64).abs() <= 0.5, "{set}");
        }
    }

    #[test]
    fn few_are_counted_well_and_many_within_reason() {
        assert_eq!(Targets::default().estimate(), 0);
        assert_eq!(targets(1).estimate(), 1);
        for count in [10, 100, 1000, 10_000, 100_000, 1_000_000] {
            let error = targets(count).estimate() as f64 / f64::from(count) - 1.0;
            assert!(error.abs() < 0.25, "{count}: {error}");
        }
    }

    #[test]
    fn the_same_target_counts_once() {
        let mut targets = targets(50);
        let before = targets.estimate();
        for _ in 0..1000 {
            targets.insert(7, Address::v4([10, 0, 0, 1]), 3);
        }
        assert_eq!(targets.estimate(), before);
    }

    #[test]
    fn full_is_a_number_too() {
        let full = Targets {
            levels: [u64::MAX; 16],
        };
        assert!(full.estimate() > 8_000_000);
    }

    #[test]
    fn half_of_the_targets_are_on_the_first_level() {
        let first = (0..10_000u16).filter(|&port| place(1, Address::NONE, port).0 == 0);
        let first = first.count();
        assert!((4_700..5_300).contains(&first), "{first}");
    }
}
