//! Verdicts, against the words of the specification.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

mod agree;
mod build;
mod first;
mod naive;
mod random;
