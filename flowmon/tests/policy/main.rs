//! Verdicts, against the words of the specification.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail by panicking"
)]

mod agree;
mod conformance;
mod ends;
mod explain;
mod naive;
mod peers;
mod random;
mod tiers;
mod traps;
mod world;
