//! The properties that are fuzzed (`fuzz/`), for what the fuzzer found worth keeping.
#![expect(clippy::panic, reason = "a test may fail by panicking")]

#[path = "../../fuzz/properties/flow_record.rs"]
mod flow_record;
#[path = "../../fuzz/properties/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn flow_records() {
    replay("flow_record", flow_record::check);
}
