//! What was typed, made sense of.

use std::time::Duration;

use crate::{kernel::Hook, selection::Pattern};

/// Everything a watch needs to know.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Which interfaces.
    pub interfaces: Vec<Pattern>,
    /// Stop by itself after this long.
    pub duration: Option<Duration>,
    /// Time between two readings of the kernel's counters.
    pub interval: Duration,
    /// What to print.
    pub output: Output,
    /// Flows the kernel keeps at most.
    pub max_flows: u32,
    /// How to attach; the best way this kernel has, if not said.
    pub hook: Option<Hook>,
}

/// What goes to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// A snapshot for people, each interval.
    Table,
    /// Flow records, one JSON object a line.
    Json,
}
