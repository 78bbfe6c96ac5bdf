//! The judgement: declared policies and who exists in, verdicts with their reasons out.
//!
//! Pure: no IO, no clock. Documents become a [`PolicySet`], what `kubectl` prints of the cluster an
//! [`Inventory`]; both are compiled into a ruleset that answers for one connection at a time.
#![forbid(unsafe_code)]

mod asked;
pub mod cluster;
pub mod document;
pub mod explain;
pub mod inventory;
pub mod labels;
pub mod lint;
pub mod model;
pub mod place;
pub mod rules;
pub mod ruleset;
pub mod verdict;
pub mod yaml;

pub use asked::{AskedPort, connection, connections};
pub use cluster::Cluster;
pub use document::Documents;
pub use explain::Explanation;
pub use inventory::Inventory;
pub use labels::{Labels, Selector};
pub use lint::lint;
pub use model::{Policy, PolicySet};
pub use place::{Place, Problem, Severity};
pub use ruleset::{Ruleset, Settings, ToOwnNode};
pub use verdict::{Connection, Outcome, Reason, Verdict, Verdicts};
