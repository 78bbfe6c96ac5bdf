//! `flowmon run`

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, ValueEnum};
use globset::Glob;

use super::{AttachArgs, ObserveArgs, duration};
use crate::{
    policy::Outcome,
    settings::{Log, LogFilter, LogLimits, Run, Watch},
};

/// `flowmon run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Take settings from this file, YAML; what is typed goes over the environment, and that over the
    /// file. deploy/flowmon.yaml has all that can be set.
    #[arg(long, value_name = "FILE", env = "FLOWMON_CONFIG")]
    pub config: Option<PathBuf>,
    /// Only look whether settings, policies and inventory are in order, and print the settings with where each comes
    /// from.
    #[arg(long, env = "FLOWMON_CHECK_CONFIG")]
    pub check_config: bool,
    /// The settings as such a file.
    #[arg(skip)]
    pub effective: String,
    #[command(flatten)]
    attach: AttachArgs,
    #[command(flatten)]
    observe: ObserveArgs,
    /// Where /metrics, /healthz and /readyz are served. Whoever can connect can read them, unless
    /// there is a web configuration.
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:19435",
        env = "FLOWMON_LISTEN"
    )]
    listen: SocketAddr,
    /// TLS and passwords for what is served: a web configuration as Prometheus exporters have it, YAML.
    #[arg(long, value_name = "FILE", env = "FLOWMON_WEB_CONFIG")]
    web_config: Option<PathBuf>,
    /// Time series of flows at most: the biggest peers have their own, the rest are counted as
    /// `peer="other"`.
    #[arg(
        long, value_name = "N", default_value_t = 20_000, env = "FLOWMON_MAX_SERIES",
        value_parser = clap::value_parser!(u32).range(1000..=1_000_000)
    )]
    max_series: u32,
    /// Tell flows apart by the responder's port, too: label `port`.
    #[arg(
        long, value_name = "BOOL", default_value_t = false, action = ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_missing_value = "true",
        env = "FLOWMON_LABEL_PORT"
    )]
    label_port: bool,
    /// Write flow records to this file, one JSON object a line; - is standard output. A file that was
    /// moved is begun again.
    #[arg(long, value_name = "FILE", env = "FLOWMON_LOG_FILE")]
    log: Option<PathBuf>,
    /// Which flow records: of all flows, or of those that policies deny.
    #[arg(long, value_enum, default_value = "all", env = "FLOWMON_LOG_RECORDS")]
    log_records: Records,
    /// Of endpoints in these namespaces only: names or globs, several at once. A record is judged by what it
    /// says: before its endpoint has a name it is in none.
    #[arg(
        long,
        value_name = "GLOB",
        value_delimiter = ',',
        env = "FLOWMON_LOG_NAMESPACE"
    )]
    log_namespace: Vec<Glob>,
    /// Of endpoints of these names only, or of these interfaces where they have none: names or globs.
    #[arg(
        long,
        value_name = "GLOB",
        value_delimiter = ',',
        env = "FLOWMON_LOG_ENDPOINT"
    )]
    log_endpoint: Vec<Glob>,
    /// With these verdicts only, several at once.
    #[arg(
        long,
        value_enum,
        value_name = "VERDICT",
        value_delimiter = ',',
        env = "FLOWMON_LOG_VERDICT"
    )]
    log_verdict: Vec<VerdictArg>,
    /// Begin another file when this one has so many megabytes.
    #[arg(
        long, value_name = "MB", default_value_t = 100, env = "FLOWMON_LOG_MAX_SIZE",
        value_parser = clap::value_parser!(u64).range(1..=1_000_000)
    )]
    log_max_size: u64,
    /// Begin another file after this long.
    #[arg(
        long, value_name = "DURATION", default_value = "24h", value_parser = duration,
        env = "FLOWMON_LOG_MAX_AGE"
    )]
    log_max_age: Duration,
    /// Old files that are kept, FILE.1 the youngest.
    #[arg(
        long, value_name = "N", default_value_t = 7, env = "FLOWMON_LOG_KEEP",
        value_parser = clap::value_parser!(u32).range(0..=1000)
    )]
    log_keep: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Records {
    All,
    Violations,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum VerdictArg {
    Allowed,
    Denied,
    Undecided,
    /// None: no policies, or nothing that they could be about.
    NotJudged,
}

impl VerdictArg {
    const fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Allowed => Some(Outcome::Allowed),
            Self::Denied => Some(Outcome::Denied),
            Self::Undecided => Some(Outcome::Undecided),
            Self::NotJudged => None,
        }
    }
}

impl RunArgs {
    /// What it means.
    pub fn settings(self) -> Run {
        let limits = LogLimits {
            bytes: self.log_max_size * 1_000_000,
            age: self.log_max_age,
            keep: self.log_keep,
        };
        let compile = |globs: Vec<Glob>| globs.iter().map(Glob::compile_matcher).collect();
        let verdicts = self.log_verdict.into_iter().map(VerdictArg::outcome);
        let filter = LogFilter {
            namespaces: compile(self.log_namespace),
            endpoints: compile(self.log_endpoint),
            verdicts: verdicts.collect(),
            only_violations: self.log_records == Records::Violations,
        };
        Run {
            watch: Watch {
                pinned: true,
                ..self.attach.of(self.observe.settings(Vec::new()))
            },
            listen: self.listen,
            web_config: self.web_config,
            max_series: self.max_series as usize,
            label_port: self.label_port,
            log: self.log.map(|path| Log {
                path,
                limits,
                filter,
            }),
        }
    }
}
