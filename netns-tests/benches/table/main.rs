//! What flowmon costs, in one table: each figure beside what it is to be measured against, taken in
//! turns within the same run, so that a machine that slows down slows both; what counts is the ratio.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench is a program for people"
)]

mod churn;
mod frames;
mod links;
mod readings;
mod row;

use std::fmt::Debug;

use row::Row;

fn may<T>(result: Result<T, impl Debug>) -> T {
    result.unwrap_or_else(|error| panic!("{error:?}"))
}

fn main() {
    Row::heading();
    let parts: [(&str, fn()); 9] = [
        ("hot", frames::hot),
        ("random", frames::random),
        ("new", frames::new),
        ("small", links::small_packets),
        ("bulk", links::bulk),
        ("churn", churn::bursts),
        ("drain", readings::drains),
        ("memory", readings::memory),
        ("attach", readings::attaching),
    ];
    // Some of them by name, or all; cargo adds a flag of its own.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|name| !name.starts_with('-'))
        .collect();
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|one| one == name) {
            part();
        }
    }
}
