//! What the tests on real kernels share: flowmon as a child process, what it said, and whether a
//! test may run at all. The networks and the traffic are `flowmon::lab`.
#![expect(
    clippy::panic,
    reason = "a harness fails by panicking, with what it saw"
)]

mod capture;
mod command;
mod forwarder;
mod load;
mod mounts;
mod raw;
mod root;
mod runtime;
mod said;
mod samples;
mod segment;
mod site;
mod tcp_counters;
mod tmux;
mod used;
mod watch;

pub use capture::{Capture, Frame, Frames, interface_counters};
pub use command::{Finished, command, finish, flowmon, tool};
pub use forwarder::{Forwarder, Heading};
pub use load::Load;
pub use mounts::PrivateMounts;
pub use raw::send_frames;
pub use root::{require_programs, require_root};
pub use runtime::{Node, Runtime};
pub use said::{Said, counted};
pub use samples::{Samples, http_get};
pub use segment::Segment;
pub use site::{CLOSED, Site};
pub use tcp_counters::TcpCounters;
pub use tmux::Tmux;
pub use used::Used;
pub use watch::{Ended, Watch, flowmon_binary};
