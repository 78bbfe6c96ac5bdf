//! Commands about recorded flows.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{CornerArgs, JudgingArgs};
use crate::{
    settings::{Audit, FailOn, Findings, Judging, Suggest},
    suggest::Format,
};

/// `flowmon audit`
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Flow logs, as `watch --output json` writes them; - is standard input.
    #[arg(
        long, required = true, num_args = 1.., value_name = "FILE", env = "FLOWMON_FLOWS",
        value_delimiter = ','
    )]
    flows: Vec<PathBuf>,
    #[command(flatten)]
    judging: JudgingArgs,
    /// What to print. json is every record again with its verdict, then a summary.
    #[arg(long, value_enum, default_value = "table", env = "FLOWMON_OUTPUT")]
    output: FindingsArg,
    /// What makes it fail: denied flows (exit code 1); with undecided, also whatever could hide one
    /// (exit code 3); or nothing.
    #[arg(
        long,
        value_enum,
        default_value = "denied",
        value_name = "WHAT",
        env = "FLOWMON_FAIL_ON"
    )]
    fail_on: FailOnArg,
    /// Tell what changes from the verdicts in the log, and fail on what is newly denied.
    #[arg(long, env = "FLOWMON_DIFF")]
    diff: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FindingsArg {
    Table,
    Json,
    Junit,
    Sarif,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FailOnArg {
    Denied,
    Undecided,
    Never,
}

impl AuditArgs {
    /// What it means.
    pub fn settings(self) -> Audit {
        Audit {
            flows: self.flows,
            judging: self.judging.settings(),
            output: match self.output {
                FindingsArg::Table => Findings::Table,
                FindingsArg::Json => Findings::Json,
                FindingsArg::Junit => Findings::Junit,
                FindingsArg::Sarif => Findings::Sarif,
            },
            fail_on: match self.fail_on {
                FailOnArg::Denied => FailOn::Denied,
                FailOnArg::Undecided => FailOn::Undecided,
                FailOnArg::Never => FailOn::Never,
            },
            diff: self.diff,
        }
    }
}

/// `flowmon suggest`
#[derive(Debug, Args)]
pub struct SuggestArgs {
    /// Flow logs, as `watch --output json` writes them; - is standard input.
    #[arg(
        long, required = true, num_args = 1.., value_name = "FILE", env = "FLOWMON_FLOWS",
        value_delimiter = ','
    )]
    flows: Vec<PathBuf>,
    /// Who is who: files and folders with what `kubectl get pods,ns,svc,nodes -A -o yaml` prints.
    #[arg(
        long, required = true, num_args = 1.., value_name = "PATH", env = "FLOWMON_INVENTORY",
        value_delimiter = ','
    )]
    inventory: Vec<PathBuf>,
    /// Respect the policies of --policies, and print only what is missing.
    #[arg(long, requires = "policies", env = "FLOWMON_MERGE")]
    merge: bool,
    /// Files and folders of policies that are there already, with --merge.
    #[arg(
        long, num_args = 1.., value_name = "PATH", requires = "merge", env = "FLOWMON_POLICIES",
        value_delimiter = ','
    )]
    policies: Vec<PathBuf>,
    /// Which kind of policies to write. Cluster network policies are in the baseline tier, so they can't
    /// add to what network policies isolate: not with --merge.
    #[arg(
        long,
        value_enum,
        default_value = "network-policy",
        env = "FLOWMON_FORMAT"
    )]
    format: FormatArg,
    #[command(flatten)]
    corners: CornerArgs,
}

/// A kind of policies to suggest.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatArg {
    /// `NetworkPolicy`, networking.k8s.io/v1.
    NetworkPolicy,
    /// `ClusterNetworkPolicy`, policy.networking.k8s.io/v1alpha2.
    ClusterNetworkPolicy,
}

impl SuggestArgs {
    /// What it means.
    pub fn settings(self) -> Suggest {
        Suggest {
            flows: self.flows,
            judging: Judging {
                policies: self.policies,
                inventory: self.inventory,
                corners: self.corners.settings(),
            },
            format: match self.format {
                FormatArg::NetworkPolicy => Format::NetworkPolicy,
                FormatArg::ClusterNetworkPolicy => Format::ClusterNetworkPolicy,
            },
        }
    }
}
