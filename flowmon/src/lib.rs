//! flowmon: an auditor and flow monitor for container networks. `ARCHITECTURE.md` has the map.

pub mod audit;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod diagnostics;
pub mod file_watch;
pub mod flow;
pub mod http;
pub mod identity;
pub mod kernel;
pub mod kubernetes;
pub mod lab;
pub mod model;
pub mod netlink;
pub mod pipeline;
pub mod policy;
pub mod rehearsal;
pub mod replay;
pub mod report;
pub mod scenario;
pub mod selection;
pub mod settings;
pub mod sinks;
pub mod suggest;
