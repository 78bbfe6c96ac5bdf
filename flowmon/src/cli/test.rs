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
    /// Judge what each scenario expects by the policies alone, without traffic and without privileges.
    #[arg(long = "static", env = "FLOWMON_STATIC")]
    pub is_static: bool,
    /// A look into the networks.
    #[command(flatten)]
    pub linger: LingerArgs,
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

/// A look into the networks of a scenario.
#[derive(Debug, Args)]
pub struct LingerArgs {
    /// Leave the networks of the one scenario, say how to enter them, and end when told to (Ctrl-C).
    #[arg(long, conflicts_with_all = ["is_static", "mutate"], env = "FLOWMON_KEEP")]
    pub keep: bool,
    /// Open a shell in the network of this pod (or outside peer, or node) of the one scenario, when
    /// everything was tried; the networks go when it ends.
    #[arg(long, value_name = "POD", conflicts_with_all = ["is_static", "mutate", "keep"], env = "FLOWMON_SHELL")]
    pub shell: Option<String>,
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

impl LingerArgs {
    /// Is one wanted?
    pub const fn is_asked_for(&self) -> bool {
        self.keep || self.shell.is_some()
    }
}

impl TestArgs {
    /// What Kubernetes leaves open.
    pub const fn corners(&self) -> policy::Settings {
        self.corners.settings()
    }
}
