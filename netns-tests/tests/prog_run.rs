//! The loaded programs against the same parser on the host (`BPF_PROG_TEST_RUN`): every golden
//! frame, and frames nobody thought of, give the same flow, the same counts or the same refusal.
#![expect(clippy::panic, reason = "a test fails by panicking")]

#[path = "../../flowmon-common/tests/support/golden.rs"]
#[expect(dead_code, reason = "the parser's own tests use the rest")]
mod golden;

use std::{cell::RefCell, env, fmt::Debug};

use flowmon::kernel::{Datapath, Frame};
use flowmon_common::{
    Counter, Direction, FlowKey, FlowStats, Link, Parsed, Refusal, Totals, Traffic,
    parse::Fragment, wire::ETHERNET_LEN,
};
use netns_tests::require_root;
use proptest::prelude::*;

/// The loopback interface: `BPF_PROG_TEST_RUN` wants one that exists, and touches none.
const IFINDEX: u32 = 1;
/// `TC_ACT_UNSPEC`: whatever is behind us in the chain runs.
const UNSPEC: u32 = u32::MAX;

/// What one frame did.
#[derive(Debug, PartialEq, Eq)]
struct Effect {
    flow: Option<(FlowKey, Traffic)>,
    totals: Totals,
    refused: Option<Counter>,
}

impl Effect {
    fn expected(parsed: Result<Parsed, Refusal>, direction: Direction, frame: &Frame<'_>) -> Self {
        let len = u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX);
        let traffic = match parsed {
            Ok(packet) => packet.traffic(len, frame.gso_segments, 0),
            Err(_) => Traffic::of_buffer(len, frame.gso_segments, ETHERNET_LEN, 0),
        };
        let mut totals = Totals::default();
        match direction {
            Direction::Tx => totals.tx = traffic,
            Direction::Rx => totals.rx = traffic,
        }
        Self {
            flow: parsed
                .ok()
                .map(|packet| (FlowKey::new(IFINDEX, direction, &packet), traffic)),
            totals,
            refused: parsed.err().map(Counter::from),
        }
    }
}

/// Loaded programs that forget each frame before the next.
struct Kernel {
    datapath: Datapath,
    counters: Vec<(Counter, u64)>,
}

impl Kernel {
    fn load() -> Self {
        let datapath = may(Datapath::load(1024));
        let counters = may(datapath.counters());
        Self { datapath, counters }
    }

    fn run(&mut self, direction: Direction, frame: &Frame<'_>) -> Effect {
        let program = match direction {
            Direction::Tx => "flowmon_tx",
            Direction::Rx => "flowmon_rx",
        };
        may(self.datapath.register(IFINDEX, 0));
        let outcome = self
            .datapath
            .run(program, frame)
            .unwrap_or_else(|error| panic!("{error:?}: {:02x?}", frame.bytes));
        assert_eq!(
            outcome.action, UNSPEC,
            "packets go on to whatever is behind us"
        );
        let mut flows: Vec<(FlowKey, FlowStats)> = Vec::new();
        may(self
            .datapath
            .drain(|flow| flows.push((flow.key, flow.stats))));
        assert!(flows.len() <= 1, "one frame made several flows: {flows:?}");
        let totals = may(self.datapath.totals(IFINDEX));
        let keys: Vec<FlowKey> = flows.iter().map(|(key, _)| *key).collect();
        may(self.datapath.release(IFINDEX, &keys));
        Effect {
            flow: flows
                .first()
                .map(|(key, stats)| (*key, stats.half(direction).traffic)),
            totals,
            refused: self.counted(),
        }
    }

    /// The counter that moved since the last look.
    fn counted(&mut self) -> Option<Counter> {
        let now = may(self.datapath.counters());
        let before = std::mem::replace(&mut self.counters, now);
        let moved: Vec<Counter> = std::iter::zip(&before, &self.counters)
            .filter_map(|((_, before), (counter, now))| (before != now).then_some(*counter))
            // Nobody takes them here, so the ring is full after some thousands.
            .filter(|counter| *counter != Counter::EventsLost)
            .collect();
        assert!(
            moved.len() <= 1,
            "one frame moved several counters: {moved:?}"
        );
        moved.first().copied()
    }
}

fn may<T>(result: Result<T, impl Debug>) -> T {
    result.unwrap_or_else(|error| panic!("{error:?}"))
}

fn frame(bytes: &[u8], gso_segments: u32) -> Frame<'_> {
    Frame {
        bytes,
        ifindex: IFINDEX,
        gso_segments,
        repeat: 1,
    }
}

#[test]
fn golden_frames_give_the_flow_they_should() {
    if !require_root("golden_frames_give_the_flow_they_should") {
        return;
    }
    let frames = golden::load();
    let mut usable: Vec<_> = frames
        .iter()
        .filter(|golden| golden.kernel_takes_it())
        .collect();
    assert!(usable.len() > 100, "only {} golden frames", usable.len());
    // First fragments last: what is remembered of them must not help the later ones.
    usable.sort_by_key(|golden| {
        let is_first = |flow: golden::Flow| flow.packet.fragment == Fragment::First;
        golden.expected.is_ok_and(is_first)
    });
    let mut kernel = Kernel::load();
    for golden in usable {
        let frame = frame(&golden.bytes, golden.segments);
        let parsed = golden.expected.map(|flow| flow.packet);
        for direction in [Direction::Tx, Direction::Rx] {
            let mut expected = Effect::expected(parsed, direction, &frame);
            if let (Ok(flow), Some((_, traffic))) = (&golden.expected, &mut expected.flow) {
                *traffic = flow.traffic;
            }
            assert_eq!(
                kernel.run(direction, &frame),
                expected,
                "{} {direction:?}",
                golden.name
            );
        }
    }
}

#[test]
fn later_fragments_join_the_flow_of_their_first() {
    if !require_root("later_fragments_join_the_flow_of_their_first") {
        return;
    }
    let frames = golden::load();
    let named = |name: &str| {
        frames
            .iter()
            .find(|golden| golden.name == name)
            .unwrap_or_else(|| panic!("no {name}"))
    };
    let mut kernel = Kernel::load();
    let mut flow_of = |name: &str| {
        kernel
            .run(Direction::Tx, &frame(&named(name).bytes, 0))
            .flow
            .map(|(key, _)| key)
    };
    for datagram in [
        &[
            "ipv4-fragment-first",
            "ipv4-fragment-middle",
            "ipv4-fragment-last",
        ][..],
        &["ipv4-ah-fragment-first", "ipv4-ah-fragment-last"],
    ] {
        let flows: Vec<_> = datagram.iter().map(|name| flow_of(name)).collect();
        let first = flows.first().copied().flatten();
        assert!(first.is_some_and(|key| key.local_port != 0), "{first:?}");
        assert!(flows.iter().all(|flow| *flow == first), "{flows:?}");
    }
}

#[test]
fn frames_nobody_thought_of_give_what_the_host_parser_gives() {
    if !require_root("frames_nobody_thought_of_give_what_the_host_parser_gives") {
        return;
    }
    let frames: Vec<Vec<u8>> = golden::load()
        .into_iter()
        .filter(golden::Golden::kernel_takes_it)
        .map(|golden| golden.bytes)
        .collect();
    let mutations = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let cut = any::<prop::sample::Index>();
    let mutants = (
        prop::sample::select(frames),
        mutations,
        proptest::option::weighted(0.2, cut),
    );
    let kernel = RefCell::new(Kernel::load());
    let cases = match env::var("FLOWMON_FRAMES") {
        Ok(number) => may(number.parse()),
        Err(_) => 4000,
    };
    let config = ProptestConfig {
        cases,
        max_global_rejects: cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |((mut bytes, mutations, cut) in mutants, segments in 0u32..50)| {
        for (index, value) in mutations {
            *index.get_mut(&mut bytes) = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(15 + cut.index(bytes.len() - 14));
        }
        prop_assume!(golden::kernel_takes(&bytes));
        let parsed = flowmon_common::parse(&flowmon_common::Frame::ethernet(&bytes), Link::Ethernet);
        // What it remembers of earlier frames is the kernel's alone.
        prop_assume!(!parsed.is_ok_and(|packet| packet.fragment == Fragment::Later));
        let frame = frame(&bytes, segments);
        let mut kernel = kernel.borrow_mut();
        for direction in [Direction::Tx, Direction::Rx] {
            let expected = Effect::expected(parsed, direction, &frame);
            prop_assert_eq!(kernel.run(direction, &frame), expected, "{:?} {:02x?}", direction, bytes);
        }
    });
}

#[test]
fn verified_instructions_stay_far_from_the_limit() {
    /// `BPF_COMPLEXITY_LIMIT_INSNS`
    const LIMIT: u32 = 1_000_000;
    if !require_root("verified_instructions_stay_far_from_the_limit") {
        return;
    }
    for fact in may(may(Datapath::load(1024)).program_facts()) {
        let verified = fact
            .verified_instructions
            .unwrap_or_else(|| panic!("{fact:?}"));
        #[expect(clippy::print_stdout, reason = "so that growth is seen")]
        {
            println!(
                "{:<14} {verified:>7} instructions verified, {:>6} bytes",
                fact.name, fact.jited_bytes
            );
        }
        assert!(verified < LIMIT / 10, "{fact:?}");
    }
}
