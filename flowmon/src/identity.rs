//! Who is behind each interface, and who is at the other end.
//!
//! Several sources know something: the kernel, CNI plugins, runtimes, what the user declared. Each
//! says all that it knows, whenever that changes, and the [`Registry`] puts it together. The local
//! end is known by its attachment, never by its address alone; the other end by who held the address
//! at that time.

mod cgroup;
mod cni;
mod cri;
mod declared;
mod docker;
pub mod grpc;
mod history;
mod http;
mod join;
mod known;
mod netns;
mod registry;
mod source;
mod text;

pub use cni::Cni;
pub use cri::Cri;
pub use declared::declared;
pub use docker::Docker;
pub use known::Known;
pub use netns::Netns;
pub use registry::{Attachment, Changes, Registry};
pub use source::{Cluster, Links, News, Outlet, Said, Source, Sources, Trouble};
pub(crate) use text::clean;
