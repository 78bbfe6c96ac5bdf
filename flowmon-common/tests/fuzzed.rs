//! The properties that are fuzzed (`fuzz/`), for what the fuzzer found worth keeping.
#![expect(clippy::panic, reason = "a test may fail by panicking")]

#[path = "../../fuzz/properties/event.rs"]
mod event;
#[path = "support/golden.rs"]
#[expect(dead_code, reason = "here only the bytes count")]
mod golden;
#[path = "../../fuzz/properties/packet.rs"]
mod packet;
#[path = "../../fuzz/properties/replay.rs"]
mod replay;
#[path = "../../fuzz/properties/tcp.rs"]
mod tcp;

use replay::replay;

#[test]
#[expect(
    clippy::print_stdout,
    reason = "tells which frame it was when one fails"
)]
fn frames() {
    // The corpus is what goes beyond these.
    for golden in golden::load() {
        println!("{}", golden.name);
        packet::check(&golden.bytes);
    }
    replay("packet", packet::check);
}

#[test]
fn events() {
    replay("event", event::check);
}

#[test]
fn connections() {
    replay("tcp", tcp::check);
}
