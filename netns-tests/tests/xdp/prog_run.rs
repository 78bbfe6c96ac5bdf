//! The loaded program against the same code on the host (`BPF_PROG_TEST_RUN`).

#[path = "../../../flowmon-common/tests/support/golden.rs"]
#[expect(dead_code, reason = "only the frames are asked for")]
mod golden;

use std::fmt::Debug;

use flowmon::kernel::{Datapath, Frame};
use flowmon_common::{
    Link, Oddity, Targets, Traffic, Witness,
    hygiene::{Hygiene, inspect},
    parse,
    parse::Sender,
    wire::protocol,
    witness::{is_tagged, tag_bytes},
};
use netns_tests::require_root;
use proptest::prelude::*;

/// The loopback interface, where the kernel says that the frame came in.
const IFINDEX: u32 = 1;
const XDP_PASS: u32 = 2;

fn may<T>(result: Result<T, impl Debug>) -> T {
    result.unwrap_or_else(|error| panic!("{error:?}"))
}

/// What one frame did.
#[derive(Debug, PartialEq, Eq)]
struct Effect {
    witness: Witness,
    hygiene: Hygiene,
    targets: u64,
}

impl Effect {
    fn expected(bytes: &[u8]) -> Self {
        let frame = flowmon_common::Frame::ethernet(bytes);
        let parsed = parse(&frame, Link::Ethernet);
        let network = 14 + tag_bytes(&frame);
        let odd = inspect(&frame, network, parsed.as_ref().map_err(|refusal| *refusal));
        let asks = parsed
            .is_ok_and(|packet| packet.protocol == protocol::TCP && packet.sender == Sender::Opens);
        let mut hygiene = Hygiene::default();
        for (frames, oddity) in hygiene.frames.iter_mut().zip(Oddity::ALL) {
            *frames = odd.has(oddity).into();
        }
        Self {
            witness: Witness {
                seen: Traffic {
                    packets: 1,
                    bytes: bytes.len() as u64,
                },
                tagged: is_tagged(&frame).into(),
                syns: asks.into(),
            },
            hygiene,
            targets: asks.into(),
        }
    }

    fn of(datapath: &mut Datapath, bytes: &[u8]) -> Self {
        may(datapath.register(IFINDEX, 0));
        let frame = Frame {
            bytes,
            ifindex: IFINDEX,
            gso_segments: 0,
            repeat: 1,
        };
        let outcome = may(datapath.run("flowmon_xdp", &frame));
        assert_eq!(outcome.action, XDP_PASS, "{bytes:02x?}");
        may(datapath.turn_targets());
        let targets: Targets = may(datapath.targets(IFINDEX));
        let effect = Self {
            witness: may(datapath.reading(IFINDEX)).witness,
            hygiene: may(datapath.hygiene(IFINDEX)),
            targets: targets.estimate(),
        };
        may(datapath.release(IFINDEX, &[]));
        effect
    }
}

/// Longer ones are not one buffer.
fn fits(bytes: &[u8]) -> bool {
    (14..3500).contains(&bytes.len())
}

#[test]
fn golden_frames_pass_and_are_judged_as_on_the_host() {
    if !require_root("golden_frames_pass_and_are_judged_as_on_the_host") {
        return;
    }
    let mut datapath = may(Datapath::load(1024));
    let mut tried = 0;
    for golden in golden::load() {
        if fits(&golden.bytes) {
            let expected = Effect::expected(&golden.bytes);
            let effect = Effect::of(&mut datapath, &golden.bytes);
            assert_eq!(effect, expected, "{}", golden.name);
            tried += 1;
        }
    }
    assert!(tried > 100, "only {tried} frames");
}

#[test]
fn so_are_frames_that_nobody_thought_of() {
    if !require_root("so_are_frames_that_nobody_thought_of") {
        return;
    }
    let frames: Vec<Vec<u8>> = golden::load()
        .into_iter()
        .map(|golden| golden.bytes)
        .filter(|bytes| fits(bytes))
        .collect();
    let mutations = prop::collection::vec((12..90usize, any::<u8>()), 0..6);
    let cut = proptest::option::weighted(0.2, any::<prop::sample::Index>());
    let cases = (prop::sample::select(frames), mutations, cut);
    let datapath = std::cell::RefCell::new(may(Datapath::load(1024)));
    let config = ProptestConfig {
        cases: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |((mut bytes, mutations, cut) in cases)| {
        for (at, value) in mutations {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(14 + cut.index(bytes.len() - 13));
        }
        let effect = Effect::of(&mut datapath.borrow_mut(), &bytes);
        prop_assert_eq!(effect, Effect::expected(&bytes), "{:02x?}", bytes);
    });
}
