//! Verdicts, against the words of the specification.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod build;
mod first;
