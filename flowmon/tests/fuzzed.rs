//! The properties that are fuzzed (`fuzz/`), for what the fuzzer found worth keeping.
#![expect(clippy::panic, reason = "a test may fail by panicking")]

#[path = "../../fuzz/properties/flow_record.rs"]
mod flow_record;
#[path = "../../fuzz/properties/replay.rs"]
mod replay;
#[path = "../../fuzz/properties/scenario.rs"]
mod scenario;

use proptest::{collection::vec, prelude::*, sample::select};
use replay::replay;

#[test]
fn flow_records() {
    replay("flow_record", flow_record::check);
}

#[test]
fn scenarios() {
    replay("scenario", scenario::check);
}

/// What scenarios are made of.
const PIECES: [&str; 40] = [
    "policies: x\n",
    "pods:\n",
    "services:\n",
    "outside:\n",
    "expect:\n",
    "namespaces:\n",
    "  a/b: {labels: {app: b}, ports: {http: 80}}\n",
    "  a/c: {addresses: [10.0.0.1, fd00::1]}\n",
    "  a/c:\n",
    "  a: {team: x}\n",
    "  a/s: {selector: {app: b}, ports: {80: http}}\n",
    "  a/t: {backends: [a/b, x], ports: {53/udp: 53}}\n",
    "  x: 203.0.113.7\n",
    "  y: fd00::2\n",
    "  - {from: a/b, to: a/c, port: 80, expect: denied}\n",
    "  - {from: [], to: a/b, port: http, only: from}\n",
    "  - {from: everyone, to: a/*, port: [53/udp, icmp], expect: allowed, because: a/p}\n",
    "  - {from: x, to: a/s, port: 80, only: to}\n",
    "  - port: 80\n",
    "    table: |\n",
    "    table: >-\n",
    "    table: \"",
    "      from\\to a/b x\n",
    "      a/c . X\n",
    "      x ? -\n",
    "\n",
    "      # ...\n",
    "\"",
    "'",
    "  ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ": ",
    "é",
    "\t",
    "*",
    "&a ",
];

proptest! {
    #[test]
    fn whatever_is_taken_for_a_scenario(pieces in vec(select(&PIECES[..]), 0..24)) {
        scenario::check(pieces.concat().as_bytes());
    }

    #[test]
    fn a_scenario_with_something_in_it(at in any::<proptest::sample::Index>(), piece in select(&PIECES[..])) {
        const WHOLE: &str = include_str!("../../fuzz/corpus/scenario/dual-stack.yaml");
        let at = at.index(WHOLE.len());
        let (before, after) = WHOLE.split_at(at);
        scenario::check(format!("{before}{piece}{after}").as_bytes());
    }
}
