//! What can go wrong between userspace and the kernel, each with what to do about it.

use aya::{EbpfError, maps::MapError, programs::ProgramError};

/// The kernel did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Built with `FLOWMON_EBPF_OBJECT=none`.
    #[error("this flowmon was built without its kernel side; build it with ./scripts/flowmon")]
    NoObject,
    /// `FLOWMON_EBPF_OBJECT` named an object that does not speak this binary's interface.
    #[error(
        "this flowmon was built with the kernel side of another build (FLOWMON_EBPF_OBJECT), which \
         lays out its counters differently: build both from the same source"
    )]
    AnotherBuild,
    /// The process may not do it.
    #[error(
        "not permitted to {what}: flowmon needs {missing}; run it as root, or give it these \
         capabilities (`flowmon doctor` shows what is missing)"
    )]
    NotPermitted {
        /// What was tried.
        what: &'static str,
        /// The capabilities that the process does not have.
        missing: String,
    },
    /// The kernel refused the programs or maps.
    #[error(
        "the kernel refused flowmon's programs: {reason}; flowmon needs Linux 5.10 or newer \
         (`flowmon doctor` shows what this kernel lacks)"
    )]
    Refused {
        /// The kernel's words, cut to a line.
        reason: String,
    },
    /// An interface could not be attached to.
    #[error("cannot attach to {interface}: {reason}")]
    Attach {
        /// The interface's name.
        interface: String,
        /// The kernel's words.
        reason: String,
    },
    /// The interface has an ingress qdisc where clsact would be.
    #[error(
        "cannot attach to {interface} by clsact: it has an ingress qdisc, where nothing can be \
         attached to what goes out. Replace it by a clsact qdisc, which takes the same filters \
         (`tc qdisc del dev {interface} ingress`, `tc qdisc add dev {interface} clsact`), or \
         attach by tcx (Linux 6.6)"
    )]
    IngressQdisc {
        /// The interface's name.
        interface: String,
    },
    /// The witness could not be attached. Flows are watched without it.
    #[error("{interface} is watched without the XDP witness: {reason}")]
    Witness {
        /// The interface's name.
        interface: String,
        /// Why.
        reason: String,
    },
    /// No more addresses of endpoints fit.
    #[error("more than {limit} addresses of endpoints: sources are not judged on all of them")]
    TooManyAddresses {
        /// The limit.
        limit: u32,
    },
    /// A daemon can't leave anything for the next one.
    #[error(
        "cannot keep what is counted in {}: {error}; a daemon needs the BPF file system \
         (`mount -t bpf bpf /sys/fs/bpf`), and root to write to it", path.display()
    )]
    Pins {
        /// Where.
        path: std::path::PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Another daemon is at work.
    #[error(
        "a flowmon daemon runs in this network namespace: stop it first; `flowmon watch` runs beside it"
    )]
    Running,
    /// The interface went away while it was being attached to.
    #[error("{interface} is gone")]
    Gone {
        /// The interface's name.
        interface: String,
    },
    /// flowmon can't read frames of this device type.
    #[error(
        "cannot read frames of {interface}: link type {arphrd} (ARPHRD_*) is neither Ethernet nor IP"
    )]
    LinkLayer {
        /// The interface's name.
        interface: String,
        /// `ARPHRD_*` number.
        arphrd: u16,
    },
    /// No more interfaces fit.
    #[error("{limit} interfaces are watched already: watch fewer, by name or by bridge")]
    TooManyInterfaces {
        /// The limit.
        limit: u16,
    },
    /// A map of the object has another name or shape: object and binary are not of one build.
    #[error(
        "map {name} is not as this flowmon expects it: the eBPF object is not of the same build"
    )]
    Mismatch {
        /// The map's name.
        name: &'static str,
    },
    /// A map operation failed.
    #[error("reading the kernel's counts: {0}")]
    Map(#[from] MapError),
    /// A program operation failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A system call failed.
    #[error("{call}: {error}")]
    System {
        /// The call.
        call: &'static str,
        /// Its error.
        error: std::io::Error,
    },
}

impl Error {
    /// Sorts an error of loading into "may not" and "can not".
    pub(super) fn loading(error: &EbpfError) -> Self {
        Self::sorted("load eBPF programs", error)
    }

    /// As [`Self::loading`], for one program.
    pub(super) fn verifying(error: &ProgramError) -> Self {
        Self::sorted("load eBPF programs", error)
    }

    fn sorted(what: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        let missing = super::capability::missing();
        if permission_denied(error) && !missing.is_empty() {
            return Self::NotPermitted {
                what,
                missing: missing.join(", "),
            };
        }
        Self::Refused {
            reason: one_line(error),
        }
    }
}

/// Did the kernel say EPERM or EACCES somewhere down the chain of causes?
fn permission_denied(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// The chain of causes in a line; of a verifier log, the end, where the reason is.
fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    const MOST: usize = 400;
    let mut words = String::new();
    for error in std::iter::successors(Some(error), |error| error.source()) {
        let text = error.to_string();
        if !words.contains(&text) {
            if !words.is_empty() {
                words.push_str(": ");
            }
            words.push_str(&text);
        }
    }
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().rev().nth(MOST) {
        Some((cut, _)) => format!("… {}", words.get(cut..).unwrap_or_default()),
        None => words,
    }
}
