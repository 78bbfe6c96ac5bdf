//! The flowmon command.

use std::process::ExitCode;

use clap::Parser as _;
use flowmon::{cli::Cli, commands};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer as _, filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = match cli.verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // The libraries below us say much that only their developers want to know.
    let wanted = Targets::new()
        .with_target("flowmon", level)
        .with_default(LevelFilter::WARN);
    let stderr = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time();
    tracing_subscriber::registry()
        .with(stderr.with_filter(wanted))
        .init();
    commands::run(cli)
}
