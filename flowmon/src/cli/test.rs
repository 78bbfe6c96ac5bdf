//! `flowmon test`

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::CornerArgs;
use crate::policy;

/// `flowmon test`
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Scenarios; of a folder, every `*.scenario.yaml` in it and below.
    #[arg(required_unless_present = "schema", value_name = "SCENARIO")]
    pub scenarios: Vec<PathBuf>,
    /// Print the JSON schema of scenarios, for editors.
    #[arg(long, exclusive = true)]
    pub schema: bool,
    /// Judge what each scenario expects, without traffic and without privileges.
    #[arg(long = "static", env = "FLOWMON_STATIC")]
    pub is_static: bool,
    /// How good are the scenarios? Without traffic, drop or widen one thing after the other in the
    /// policies, and tell what no expectation notices.
    #[arg(long, env = "FLOWMON_MUTATE")]
    pub mutate: bool,
    /// What to print. json is a line for every expectation, then a summary.
    #[arg(long, value_enum, default_value = "table", env = "FLOWMON_OUTPUT")]
    pub output: TestOutput,
    #[command(flatten)]
    corners: CornerArgs,
}

/// How to print what became of expectations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TestOutput {
    /// Lines for people.
    Table,
    /// JSON lines.
    Json,
    /// `JUnit` XML.
    Junit,
    /// Markdown, for the summary of a step in CI.
    Markdown,
}

impl TestArgs {
    /// What Kubernetes leaves open.
    pub const fn corners(&self) -> policy::Settings {
        self.corners.settings()
    }
}
