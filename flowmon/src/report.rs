//! Reports for machines that run tests and show findings: `JUnit` XML and SARIF. Results in, text out.

mod junit;
mod sarif;

pub use junit::{Case, Suite, Verdict};
pub use sarif::{Finding, Findings, Level, Place, Rule};
