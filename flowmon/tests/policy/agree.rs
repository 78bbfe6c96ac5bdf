//! The ruleset and the naive evaluator say the same, whatever they are asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use flowmon::policy::{Reason, Ruleset, Verdicts};
use proptest::prelude::*;

use super::{
    naive::Naive,
    random::{self, Dice},
};

/// How often each outcome and reason came up.
#[derive(Default)]
struct Seen {
    clusters: u64,
    connections: u64,
    verdicts: BTreeMap<(&'static str, String), u64>,
}

impl Seen {
    fn add(&mut self, verdicts: &Verdicts) {
        self.connections += 1;
        for verdict in [&verdicts.egress, &verdicts.ingress].into_iter().flatten() {
            let of = (verdict.reason.label(), format!("{:?}", verdict.outcome));
            *self.verdicts.entry(of).or_default() += 1;
        }
    }
}

/// A cluster, policies and connections out of bytes; then pods come, go and change.
fn compare(bytes: &[u8], seen: &mut Seen) {
    let dice = &mut Dice(bytes);
    let settings = random::settings(dice);
    let policies = random::policies(dice);
    let mut inventory = random::inventory(dice);
    let mut ruleset = Ruleset::compile(&policies, &inventory, settings);
    seen.clusters += 1;
    for changes in 0..4 {
        for _ in 0..10 {
            let connection = random::connection(dice, &inventory);
            let naive = Naive {
                policies: &policies,
                inventory: &inventory,
                settings,
            };
            let expected = naive.judge(&connection);
            let found = ruleset.judge(&connection);
            seen.add(&found);
            assert_eq!(
                found, expected,
                "for {connection:?}\nafter {changes} changes in {inventory:?}\nby {policies:?}\n{settings:?}"
            );
        }
        let id = random::pod_id(dice);
        let pod = (!dice.one_in(3)).then(|| random::pod(dice));
        ruleset.pod_changed(&id, pod.as_ref());
        match pod {
            Some(pod) => inventory.pods.insert(id, pod),
            None => inventory.pods.remove(&id),
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shrinks_to_a_small_case(bytes in prop::collection::vec(any::<u8>(), 0..900)) {
        compare(&bytes, &mut Seen::default());
    }
}

/// As many as fit into `FLOWMON_AGREE_SECONDS`, by default a few.
#[test]
#[expect(
    clippy::print_stderr,
    reason = "shown by --no-capture: what was compared"
)]
fn for_a_while() {
    let seconds = std::env::var("FLOWMON_AGREE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(10));
    let start = std::env::var("FLOWMON_AGREE_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let mut state: u64 = start.unwrap_or(0x2026_1125);
    let mut seen = Seen::default();
    while Instant::now() < end || seen.clusters < 3_000 {
        compare(&random::bytes(state, 1200), &mut seen);
        state += 1;
    }
    let Seen {
        clusters,
        connections,
        verdicts,
    } = &seen;
    eprintln!("{clusters} clusters, {connections} connections: {verdicts:#?}");
    // Everything that can be said was said: what was not is not tested here.
    let said: BTreeSet<&str> = seen.verdicts.keys().map(|(reason, _)| *reason).collect();
    for reason in Reason::ALL {
        let by_caller = [
            Reason::UnknownDirection,
            Reason::UnknownEndpoint,
            Reason::OtherDestination,
            Reason::UnknownPolicies,
        ]
        .contains(&reason);
        assert!(
            by_caller || said.contains(reason.label()),
            "{reason:?} not in {said:?}"
        );
    }
}
