//! Frames that nobody meant to send: golden and built ones with bytes changed, cut, made longer.

use std::{env, sync::LazyLock};

use proptest::{collection::vec, option, prelude::*, sample::Index};

use super::{
    golden::{Golden, load},
    plan::plans,
};

/// How many frames to try: as `FLOWMON_FRAMES` says (`scripts/soak`), or else as `usual`.
pub(crate) fn frames(usual: u32) -> u32 {
    match env::var("FLOWMON_FRAMES") {
        Ok(number) => number
            .parse()
            .unwrap_or_else(|error| panic!("FLOWMON_FRAMES: {error}")),
        Err(_) => usual,
    }
}

/// Read once, changed thousands of times.
pub(crate) static GOLDEN: LazyLock<Vec<Golden>> = LazyLock::new(load);

/// The bytes of a good frame.
pub(crate) fn good() -> impl Strategy<Value = Vec<u8>> {
    let golden = any::<Index>().prop_map(|index| index.get(&GOLDEN).bytes.clone());
    prop_oneof![2 => golden, 1 => plans().prop_map(|plan| plan.build().bytes)]
}

/// The bytes of a good frame after an accident. Most changes are to headers, and to values that
/// mean something there: a random one is rarely more than an unknown protocol.
pub(crate) fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let telling = prop::sample::select(vec![
        0u8, 1, 4, 5, 6, 17, 33, 43, 44, 50, 51, 58, 59, 60, 132, 135, 136, 0x45, 0x4f, 0x60, 0x81,
        0x88, 0xa8, 0xdd, 0x86, 0xff,
    ]);
    let value = prop_oneof![telling, any::<u8>()];
    let place = prop_oneof![3 => 12..80usize, 1 => 0..4000usize];
    let changes = vec((place, value), 0..6);
    let cut = option::weighted(0.3, any::<Index>());
    let more = prop_oneof![3 => Just(Vec::new()), 1 => vec(any::<u8>(), 0..40)];
    (good(), changes, cut, more).prop_map(|(mut bytes, changes, cut, more)| {
        for (place, value) in changes {
            if let Some(byte) = bytes.get_mut(place) {
                *byte = value;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        bytes.extend(more);
        bytes
    })
}
